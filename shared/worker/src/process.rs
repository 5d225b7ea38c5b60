//! One batch on its way from the broker's hands to its settlements.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use broker::Settle;
use events::DecodeError;
use model::MessageId;
use tokio::sync::RwLockWriteGuard;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, Attempted};
use crate::batch::Taken;
use crate::breaker::Permit;
use crate::context::Context;
use crate::crash::Care;
use crate::governor::Spending;
use crate::handler::{Handler, Item};
use crate::held::Unsent;
use crate::panic::panic_text;
use crate::settle::Fate;

/// What a batch leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// Decided, but the broker takes no copies now.
    pub(crate) unsent: Vec<Unsent>,
    /// The database has been away for so long that the batch went back to the queue.
    pub(crate) let_go: bool,
}

/// Decoded messages with their deliveries, in the same order.
struct Group<E> {
    items: Vec<Item<E>>,
    deliveries: VecDeque<Taken>,
}

impl<E> Group<E> {
    fn empty() -> Self {
        Self { items: Vec::new(), deliveries: VecDeque::new() }
    }

    fn push(&mut self, taken: Taken, event: E) {
        let message = taken.message();
        self.items.push(Item {
            id: message.id.clone(),
            attempt: message.attempt(),
            redelivered: taken.redelivered(),
            event,
        });
        self.deliveries.push_back(taken);
    }
}

/// Suspects that may run in one call.
struct Apart {
    most: usize,
    suspects: Vec<Taken>,
}

/// A batch by what its messages need. None is decoded yet: that may be what kills the process.
#[derive(Default)]
struct Sorted {
    together: Vec<Taken>,
    /// Suspects, in calls of their own.
    apart: Vec<Apart>,
    /// A few: they go back, and are handled when they come again.
    last_chances: Vec<Taken>,
    /// They have their last chance, each by itself.
    on_trial: Vec<Taken>,
}

impl Sorted {
    /// The next suspect that may have so many in its call goes to the last ones of its kind while there is room.
    fn put_apart(&mut self, suspect: Taken, most: usize) {
        match self.apart.last_mut() {
            Some(last) if last.most == most && last.suspects.len() < most => last.suspects.push(suspect),
            _ => self.apart.push(Apart { most, suspects: vec![suspect] }),
        }
    }
}

/// Handles and settles `batch`. Where the database is away it waits, until `stop` is pulled or the batch has been held
/// for too long; then what has no fate yet goes back to the queue.
pub(crate) async fn process<H: Handler>(
    context: Arc<Context<H>>,
    batch: Vec<Taken>,
    spending: Spending,
    stop: CancellationToken,
) -> Aftermath {
    let hold_until = Instant::now() + context.config.hold();
    let mut hand = Hand { context: &context, spending, stop, hold_until, aftermath: Aftermath::default() };
    let answers = hand.database_answers(&batch).await;
    let Sorted { together, apart, last_chances, on_trial } = hand.sort(batch, answers);
    for suspect in last_chances {
        hand.aftermath.unsent.extend(context.give_last_chance(suspect).await);
    }
    {
        let _beside_others = context.running.read().await;
        hand.take(together).await;
    }
    // After the others are settled, and that is with the broker, so that what takes the process down takes none of them along.
    for Apart { suspects, .. } in apart {
        let _alone = hand.alone().await;
        context.stats.apart.add(suspects.len());
        hand.take(suspects).await;
    }
    for suspect in on_trial {
        let _alone = hand.alone().await;
        hand.try_alone(suspect).await;
    }
    hand.aftermath
}

/// Why a batch is not tried while its database is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GoBack {
    Stopped,
    HeldTooLong,
}

struct Hand<'a, H> {
    context: &'a Context<H>,
    spending: Spending,
    stop: CancellationToken,
    hold_until: Instant,
    aftermath: Aftermath,
}

impl<'a, H: Handler> Hand<'a, H> {
    /// Whether the database answers now, where a message is to be decided about: it is asked, as a process that has just
    /// begun has no other way to know. Where nobody is, no.
    async fn database_answers(&self, batch: &[Taken]) -> bool {
        let Context { suspects, breaker, handler, .. } = self.context;
        batch.iter().any(|taken| suspects.may_decide_about(&taken.record()))
            && breaker.is_closed()
            && breaker.ask_whether_it_answers(&|| handler.probe()).await.is_ok()
    }

    fn sort(&self, batch: Vec<Taken>, answers: bool) -> Sorted {
        let mut sorted = Sorted::default();
        for taken in batch {
            let record = taken.record();
            match self.context.suspects.care(&record, answers) {
                Care::Together => sorted.together.push(taken),
                Care::Apart(most) => sorted.put_apart(taken, most),
                Care::LastChance => sorted.last_chances.push(taken),
                Care::Trial => sorted.on_trial.push(taken),
            }
        }
        sorted
    }

    /// Waits until no other batch of this worker runs, and none does while this is kept.
    async fn alone(&self) -> RwLockWriteGuard<'a, ()> {
        let guard = self.context.running.write().await;
        sleep(self.context.config.alone_pause()).await;
        guard
    }

    /// Runs a suspect that has its last chance, and notes before that it does; parks it where such runs came to nothing.
    async fn try_alone(&mut self, suspect: Taken) {
        let Context { witness, queue, config, ladder, stats, .. } = self.context;
        let id = suspect.message().id.clone();
        let Some(begun) = self.note_trial(&id).await else {
            return self.context.give_back([suspect]).await;
        };
        if begun > config.park_after_trials {
            let fate = Fate::Crashing { redeliveries: suspect.record().total(), alone: begun - 1 };
            let how = ladder.decide(fate, suspect.message().attempt());
            self.settle(vec![(suspect, how)]).await;
        } else {
            stats.apart.one();
            self.take(vec![suspect]).await;
        }
        if let Err(reason) = witness.ended(queue.as_str(), &id).await {
            tracing::warn!(
                queue = %queue, message.id = %id, reason,
                "the note that a message runs alone could not be taken back: if it is ever suspected again, one run more is held against it"
            );
        }
    }

    /// How often the message began to run alone, this time included, once the database takes a note of it; `None` where the
    /// wait for the database ends before.
    async fn note_trial(&mut self, id: &MessageId) -> Option<u32> {
        loop {
            let permit = match self.admit().await {
                Ok(permit) => permit,
                Err(why) => {
                    self.aftermath.let_go |= why == GoBack::HeldTooLong;
                    return None;
                }
            };
            match self.context.witness.begins(self.context.queue.as_str(), id).await {
                Ok(begun) => return Some(begun),
                Err(reason) => permit.failed(&reason),
            }
        }
    }

    /// Decodes, and handles what can be decoded.
    async fn take(&mut self, messages: Vec<Taken>) {
        let (mut group, mut undecodable) = (Group::empty(), Vec::new());
        for taken in messages {
            match self.decode(&taken) {
                Ok(event) => group.push(taken, event),
                Err(fate) => {
                    let how = self.context.ladder.decide(fate, taken.message().attempt());
                    undecodable.push((taken, how));
                }
            }
        }
        self.settle(undecodable).await;
        self.handle(group).await;
    }

    fn decode(&self, taken: &Taken) -> Result<H::Event, Fate> {
        let message = taken.message();
        let stats = &self.context.stats;
        match catch_unwind(AssertUnwindSafe(|| self.context.handler.decode(message))) {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(DecodeError::Malformed(reason))) => {
                stats.malformed.one();
                Err(Fate::Malformed(reason))
            }
            Ok(Err(unknown @ DecodeError::Unknown { .. })) => {
                stats.unknown.one();
                if let Some(since_last) = self.context.unknown.ring(Instant::now()) {
                    tracing::error!(
                        queue = %self.context.queue, message.id = %message.id, reason = %unknown, since_last,
                        "messages come that this release does not know: they wait in the longest retry for one that \
                         does; finish the rolling upgrade, or find out who publishes them"
                    );
                }
                Err(Fate::Unknown(unknown.to_string()))
            }
            Err(panic) => {
                stats.panics.one();
                Err(Fate::Panicked(format!("while decoding: {}", panic_text(&*panic))))
            }
        }
    }

    async fn handle(&mut self, group: Group<H::Event>) {
        let Group { items, mut deliveries } = group;
        let mut next = 0;
        while next < items.len() {
            let permit = match self.admit().await {
                Ok(permit) => permit,
                Err(why) => {
                    self.aftermath.let_go |= why == GoBack::HeldTooLong;
                    self.context.give_back(deliveries).await;
                    return;
                }
            };
            let end = items.len().min(next.saturating_add(permit.size()));
            let attempted = self.attempt(&items[next..end]).await;
            report(permit, &attempted);
            // Fates are those of the first items; what has none yet is tried again once the breaker admits it.
            let count = attempted.fates.len();
            let ladder = &self.context.ladder;
            let decided = deliveries.drain(..count).zip(attempted.fates).zip(&items[next..next + count]);
            let decided = decided.map(|((taken, fate), item)| (taken, ladder.decide(fate, item.attempt))).collect();
            next += count;
            self.settle(decided).await;
        }
    }

    /// Leave to try, or why the rest of the batch has to go back.
    async fn admit(&mut self) -> Result<Permit<'a>, GoBack> {
        let context = self.context;
        tokio::select! {
            // First: with a closed breaker the batch in hand is finished although a stop was asked for.
            biased;
            permit = context.breaker.admit(|| context.handler.probe()) => Ok(permit),
            () = self.stop.cancelled() => Err(GoBack::Stopped),
            () = sleep_until(self.hold_until) => Err(GoBack::HeldTooLong),
        }
    }

    async fn attempt(&mut self, items: &[Item<H::Event>]) -> Attempted {
        let Context { handler, breaker, config, stats, .. } = self.context;
        Attempt { handler: &**handler, breaker, config, stats, spending: &self.spending }.run(items).await
    }

    async fn settle(&mut self, decided: Vec<(Taken, Settle)>) {
        self.aftermath.unsent.extend(self.context.settle(decided).await);
    }
}

/// Tells the breaker what the batch says about the database.
fn report(permit: Permit<'_>, attempted: &Attempted) {
    let answered = |fate: &Fate| !matches!(fate, Fate::Hung(_) | Fate::Contended(_));
    match &attempted.infrastructure {
        Some(reason) => permit.failed(reason),
        None if attempted.fates.iter().any(answered) => permit.passed(),
        None => drop(permit),
    }
}
