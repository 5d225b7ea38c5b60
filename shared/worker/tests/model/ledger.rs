//! What stands in for a database: commits a batch whole or not at all, and remembers for what it put the blame on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::DecodeError;
use faulty::{Client, End, Fault, How, Life, Step};
use model::{Message, MessageId};
use tokio::time::Instant;
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::kind::{Fate, Kind, PARKS_AT};

/// Longer than a handler waits.
const STALLS_FOR: Duration = Duration::from_secs(2);

/// The whole of it, whichever process asks.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often each message's effect was committed. A second time changes nothing, as its key is unique.
    effects: BTreeMap<MessageId, u32>,
    /// Attempts that failed on the message's own account.
    blamed: BTreeSet<(MessageId, u32)>,
    away: bool,
    /// A call got no answer, and no probe gets one until then.
    stalled_until: Option<Instant>,
    upgraded: bool,
    running: BTreeMap<Life, usize>,
}

impl Ledger {
    pub(crate) fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Every release knows every message now, and the database is there.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        (state.away, state.upgraded) = (false, true);
    }

    pub(crate) fn effects(&self) -> BTreeMap<MessageId, u32> {
        self.state().effects.clone()
    }

    /// Whether a delivery may end like that.
    pub(crate) fn judge(&self, end: &End<'_>, delays: &[Duration]) -> Result<(), String> {
        let (message, kind, attempt) = (end.message, Kind::of(end.message), end.message.attempt());
        let state = self.state();
        let blamed = state.blamed.contains(&(message.id.clone(), attempt));
        let right = match end.how {
            How::Acked => state.effects.contains_key(&message.id),
            How::Retried { after, .. } => {
                let last = delays.last().copied().unwrap_or_default();
                let rung = delays.get(attempt as usize).copied().unwrap_or(last);
                blamed && after == if kind == Kind::Unknown { last } else { rung }
            }
            How::Parked { reason } if reason.starts_with("crashing") => {
                let told = message.suspicion() + end.handed_out;
                reason.contains(&format!("redelivered {told} times"))
                    && told >= 6
                    && message.suspicion() > 0
                    && reason.contains("(2 times)")
            }
            How::Parked { reason } => match kind.fate() {
                Fate::Parked(begins, says) if reason.starts_with(&begins) && reason.contains(says) => {
                    !begins.starts_with("failed") || (blamed && attempt + 1 == PARKS_AT)
                }
                Fate::Parked(..) | Fate::Effect => false,
            },
        };
        if right {
            return Ok(());
        }
        Err(format!(
            "{} ({kind}, attempt {attempt}, handed out {} times before) must not end like that: {:?}",
            message.id, end.handed_out, end.how
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handler of one process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) client: Client,
    /// Calls at the same time, at most.
    pub(crate) parallel: usize,
}

impl Process {
    fn blame(&self, id: &MessageId, attempt: u32) {
        self.ledger.state().blamed.insert((id.clone(), attempt));
    }

    /// What goes wrong with the database at `step`.
    async fn pass(&self, step: Step) -> Result<(), BatchError> {
        let fault = self.client.pass(step).await;
        let away = || Err(BatchError::Infrastructure("connection refused".to_owned()));
        match fault {
            Some(Fault::Fail) => away(),
            Some(Fault::Lock) => Err(BatchError::Contention("40P01".to_owned())),
            Some(Fault::Stall) => {
                self.ledger.state().stalled_until = Some(Instant::now() + STALLS_FOR);
                std::future::pending().await
            }
            // What was committed is so, whoever is away by now.
            _ if step != Step::Committed && self.ledger.state().away => away(),
            _ => Ok(()),
        }
    }

    /// What `item` does to its batch.
    async fn suffer(&self, item: &Item<Kind>, is_alone: bool) -> Result<(), BatchError> {
        let fails = match item.event {
            Kind::Panics(times) | Kind::Locked(times) => item.attempt < times,
            Kind::Hangs => true,
            _ => false,
        };
        if fails && is_alone {
            self.blame(&item.id, item.attempt);
        }
        match item.event {
            Kind::Poison => Err(BatchError::Poison("22003".to_owned())),
            Kind::Aborts => self.client.die().await,
            Kind::Locked(_) if fails => Err(BatchError::Contention("55P03".to_owned())),
            // As a panic does, without its report.
            Kind::Panics(_) if fails => std::panic::resume_unwind(Box::new("divided by zero")),
            Kind::Hangs => std::future::pending().await,
            _ => Ok(()),
        }
    }

    fn commit(&self, batch: &[Item<Kind>]) -> Vec<Verdict> {
        let mut state = self.ledger.state();
        batch
            .iter()
            .map(|item| match item.event {
                Kind::Refused => Verdict::Poison("no such thing".to_owned()),
                Kind::Later(times) if item.attempt < times => {
                    state.blamed.insert((item.id.clone(), item.attempt));
                    Verdict::Later("it is early".to_owned())
                }
                _ => {
                    *state.effects.entry(item.id.clone()).or_default() += 1;
                    Verdict::Done
                }
            })
            .collect()
    }
}

impl Handler for Process {
    type Event = Kind;

    fn decode(&self, message: &Message) -> Result<Kind, DecodeError> {
        match Kind::of(message) {
            Kind::Malformed => Err(DecodeError::Malformed("not a thing".to_owned())),
            Kind::Unknown if !self.ledger.state().upgraded => {
                self.blame(&message.id, message.attempt());
                Err(DecodeError::Unknown { kind: message.kind.clone(), version: Some(2) })
            }
            kind => Ok(kind),
        }
    }

    async fn handle(&self, batch: &[Item<Kind>]) -> Result<Handled, BatchError> {
        let _running = Running::begin(self);
        self.pass(Step::Handle).await?;
        for item in batch {
            self.suffer(item, batch.len() == 1).await?;
        }
        self.pass(Step::Commit).await?;
        let verdicts = self.commit(batch);
        self.pass(Step::Committed).await?;
        Ok(verdicts.into())
    }

    async fn probe(&self) -> Result<(), String> {
        let state = self.ledger.state();
        if state.away || state.stalled_until.is_some_and(|until| Instant::now() < until) {
            Err("connection refused".to_owned())
        } else {
            Ok(())
        }
    }
}

/// A call under way.
struct Running<'a>(&'a Process);

impl<'a> Running<'a> {
    fn begin(process: &'a Process) -> Self {
        let life = process.client.life();
        let running = {
            let mut state = process.ledger.state();
            let running = state.running.entry(life).or_default();
            *running += 1;
            *running
        };
        if running > process.parallel {
            process.client.complain(format!("{running} calls at once where {} are allowed", process.parallel));
        }
        Self(process)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.0.ledger.state().running.get_mut(&self.0.client.life()) {
            *running -= 1;
        }
    }
}
