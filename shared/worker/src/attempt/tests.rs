//! Bisection against a handler that commits a batch whole or not at all, as a transaction does.

use std::sync::Mutex;

use events::DecodeError;
use model::Message;
use proptest::prelude::*;

use super::*;
use crate::config::BreakerConfig;

/// What a message does to the batch that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Good,
    Later,
    Poison,
    Panics,
    Hangs,
    Locked,
}

/// A store that keeps what was committed, and goes away after so many calls.
struct Store {
    committed: Mutex<Vec<usize>>,
    calls_left: Mutex<usize>,
    answers: bool,
}

impl Store {
    fn new(calls: usize) -> Self {
        Self { committed: Mutex::default(), calls_left: Mutex::new(calls), answers: true }
    }

    fn committed(&self) -> Vec<usize> {
        self.committed.lock().unwrap().clone()
    }
}

impl Handler for Store {
    type Event = (usize, Nature);

    fn decode(&self, _message: &Message) -> Result<Self::Event, DecodeError> {
        Err(DecodeError::Malformed("not used here".to_owned()))
    }

    async fn handle(&self, batch: &[Item<Self::Event>]) -> Result<Handled, BatchError> {
        {
            let mut left = self.calls_left.lock().unwrap();
            *left = left.checked_sub(1).ok_or_else(|| BatchError::Infrastructure("away".to_owned()))?;
        }
        for item in batch {
            match item.event.1 {
                Nature::Good | Nature::Later => {}
                Nature::Poison => return Err(BatchError::Poison("22003".to_owned())),
                Nature::Panics => panic!("index out of bounds"),
                Nature::Hangs => std::future::pending().await,
                Nature::Locked => return Err(BatchError::Contention("55P03".to_owned())),
            }
        }
        let good = batch.iter().filter(|item| item.event.1 == Nature::Good).map(|item| item.event.0);
        self.committed.lock().unwrap().extend(good);
        let verdict = |nature| if nature == Nature::Later { Verdict::Later("x".to_owned()) } else { Verdict::Done };
        Ok(batch.iter().map(|item| verdict(item.event.1)).collect::<Vec<_>>().into())
    }

    async fn probe(&self) -> Result<(), String> {
        if self.answers { Ok(()) } else { Err("connection refused".to_owned()) }
    }
}

fn items(natures: &[Nature]) -> Vec<Item<(usize, Nature)>> {
    let item = |(number, nature): (usize, &Nature)| Item {
        id: format!("m-{number}").parse().unwrap(),
        attempt: 0,
        redelivered: false,
        event: (number, *nature),
    };
    natures.iter().enumerate().map(item).collect()
}

fn attempt(store: &Store, natures: &[Nature]) -> (Attempted, Stats) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let stats = Stats::default();
    let breaker = Breaker::new("test", BreakerConfig::default());
    let config = Config { handle_timeout_ms: 100, ..Config::default() };
    let spending = Spending::free();
    let attempt = Attempt { handler: store, breaker: &breaker, config: &config, stats: &stats, spending: &spending };
    let attempted = runtime.block_on(attempt.run(&items(natures)));
    (attempted, stats)
}

fn is_fate_of(fate: &Fate, nature: Nature) -> bool {
    match nature {
        Nature::Good => *fate == Fate::Done,
        Nature::Later => matches!(fate, Fate::Later(_)),
        Nature::Poison => matches!(fate, Fate::Poison(_)),
        Nature::Panics => matches!(fate, Fate::Panicked(_)),
        Nature::Hangs => matches!(fate, Fate::Hung(_)),
        Nature::Locked => matches!(fate, Fate::Contended(_)),
    }
}

fn good(natures: &[Nature]) -> Vec<usize> {
    (0..natures.len()).filter(|number| natures[*number] == Nature::Good).collect()
}

fn mostly_good() -> impl Strategy<Value = Vec<Nature>> {
    let nature = prop_oneof![
        12 => Just(Nature::Good),
        1 => Just(Nature::Later),
        1 => Just(Nature::Poison),
        1 => Just(Nature::Panics),
    ];
    prop::collection::vec(nature, 1..130)
}

proptest! {
    #[test]
    fn every_bad_message_is_found_and_every_good_one_is_committed_exactly_once(natures in mostly_good()) {
        let store = Store::new(usize::MAX);
        let (attempted, _) = attempt(&store, &natures);
        prop_assert_eq!(attempted.infrastructure, None);
        prop_assert_eq!(attempted.fates.len(), natures.len());
        for (fate, nature) in attempted.fates.iter().zip(&natures) {
            prop_assert!(is_fate_of(fate, *nature), "{:?} for {:?}", fate, nature);
        }
        // In the order of delivery, each once.
        prop_assert_eq!(store.committed(), good(&natures));
    }

    #[test]
    fn when_the_store_goes_away_the_fates_are_those_of_a_prefix_and_nothing_beyond_it_is_committed(
        natures in mostly_good(), calls in 0..40_usize,
    ) {
        let store = Store::new(calls);
        let (attempted, _) = attempt(&store, &natures);
        let (decided, rest) = natures.split_at(attempted.fates.len());
        prop_assert_eq!(attempted.infrastructure.is_some(), !rest.is_empty());
        for (fate, nature) in attempted.fates.iter().zip(decided) {
            prop_assert!(is_fate_of(fate, *nature), "{:?} for {:?}", fate, nature);
        }
        prop_assert_eq!(store.committed(), good(decided));
    }

    #[test]
    fn one_slow_message_is_found_wherever_it_is(
        size in 1..130_usize, place: prop::sample::Index, slow in prop_oneof![Just(Nature::Hangs), Just(Nature::Locked)],
    ) {
        let mut natures = vec![Nature::Good; size];
        natures[place.index(size)] = slow;
        let store = Store::new(usize::MAX);
        let (attempted, _) = attempt(&store, &natures);
        prop_assert_eq!(attempted.infrastructure, None);
        prop_assert!(is_fate_of(&attempted.fates[place.index(size)], slow));
        prop_assert_eq!(store.committed(), good(&natures));
    }
}

#[test]
fn when_everything_hangs_or_is_locked_no_message_is_blamed() {
    for slow in [Nature::Hangs, Nature::Locked] {
        let (attempted, stats) = attempt(&Store::new(usize::MAX), &[slow; 64]);
        assert_eq!(attempted.fates.iter().filter(|fate| is_fate_of(fate, Nature::Good)).count(), 0);
        assert!(attempted.fates.len() <= 1, "one may be alone by then: {:?}", attempted.fates);
        assert!(attempted.infrastructure.is_some());
        assert!(stats.snapshot().hangs <= 8);
    }
}

#[test]
fn a_hang_while_the_store_does_not_answer_is_infrastructure() {
    let store = Store { answers: false, ..Store::new(usize::MAX) };
    let (attempted, stats) = attempt(&store, &[Nature::Good, Nature::Hangs]);
    assert_eq!(attempted.fates, []);
    let reason = attempted.infrastructure.unwrap();
    assert!(reason.contains("within 100 ms") && reason.contains("connection refused"), "{reason}");
    assert_eq!(stats.snapshot().bisections, 0);
}

#[test]
fn a_lock_is_waited_for_before_anything_is_split() {
    let (attempted, stats) = attempt(&Store::new(usize::MAX), &[Nature::Locked]);
    assert!(is_fate_of(&attempted.fates[0], Nature::Locked));
    let counts = stats.snapshot();
    assert_eq!((counts.contentions, counts.batches, counts.bisections), (6, 6, 0));
}
