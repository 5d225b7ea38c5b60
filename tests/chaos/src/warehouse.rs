//! A warehouse in which somebody counts, lends and takes back while its scarce articles are sold: each change under a key of its
//! own until it is answered, and some of them once more. A count may find fewer units than are promised. What is asked is noted
//! before it is, and the oracle holds it against the ledger.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use testkit::http::Response;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::oracle::{StockAnswer, StockAsked, StockChange};
use crate::server::Server;
use crate::world::{SCARCE, SKUS};

/// Between two changes.
const EVERY: Duration = Duration::from_millis(900);
/// Changes that still wait for their answer; beyond it there are no new ones.
const MOST: usize = 20;
/// One of so many is asked for once more after its answer, and has to get the same one.
const REPEATED: u64 = 4;
/// How long changes without an answer go on once there are no new ones.
const LAST_CHANCE: Duration = Duration::from_mins(1);

/// Whoever counts.
#[derive(Debug)]
pub(crate) struct Warehouse {
    server: Server,
    market: String,
    seed: u64,
    asked: Mutex<Vec<StockAsked>>,
}

impl Warehouse {
    /// Changes the stock of `market`, whose server this is.
    pub(crate) fn new(server: Server, market: &str, seed: u64) -> Self {
        Self { server, market: market.to_owned(), seed, asked: Mutex::default() }
    }

    /// Changes until `stop`, then gives what has no answer a last chance.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (mut changes, mut n) = (JoinSet::new(), 0);
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_ended) = changes.join_next() => {}
                _ = tick.tick() => if changes.len() < MOST {
                    let warehouse = Arc::clone(&self);
                    changes.spawn(async move { warehouse.change(n).await });
                    n += 1;
                },
            }
        }
        // What has no answer even then is done or not, and the oracle takes either.
        let rest = async { while changes.join_next().await.is_some() {} };
        let _ = timeout(LAST_CHANCE, rest).await;
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<StockAsked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn change(&self, n: u64) {
        let sku = format!("SKU-{}", u64::from(SKUS) - n % u64::from(SCARCE));
        let (key, change) = (format!("stock-{:016x}-{n}", self.seed), change(n, self.seed.wrapping_add(n)));
        let (method, path, body) = request(&sku, &change);
        let reference = format!("{}/{key}", self.market);
        let place = self.note(StockAsked { sku, reference, change, answers: Vec::new() });
        let times = if n.is_multiple_of(REPEATED) { 2 } else { 1 };
        for _ in 0..times {
            let Some(answer) = self.server.ask(&method, &path, &key, &body).await else { return };
            self.answered(place, &answer);
        }
    }

    /// Notes it; its place.
    fn note(&self, asked: StockAsked) -> usize {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asked);
        all.len() - 1
    }

    /// A refusal says nothing of a try before it that was not answered.
    fn answered(&self, place: usize, answer: &Response) {
        let level = answer.status.is_success().then(|| level(&answer.json())).flatten();
        if let Some(asked) = self.asked.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            asked.answers.extend(level);
        }
    }
}

/// The `n`th change: each kind in turn, and as many units as chance has it.
fn change(n: u64, dice: u64) -> StockChange {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(dice);
    match n % 5 {
        // About what the articles have: now more than is promised, now fewer.
        0 | 2 => StockChange::Count { on_hand: rng.random_range(0..=120) },
        1 => StockChange::Give { units: rng.random_range(1..=40) },
        3 => StockChange::Take { units: rng.random_bool(0.5).then(|| rng.random_range(1..=20)) },
        _ => StockChange::Restock { units: rng.random_range(1..=20) },
    }
}

/// How a change is asked for: the path, and the body.
pub fn request(sku: &str, change: &StockChange) -> (Method, String, Value) {
    let path = format!("/v1/stock/{sku}");
    match change {
        StockChange::Count { on_hand } => (Method::PUT, path, json!({"on_hand": on_hand})),
        StockChange::Restock { units } => (Method::POST, format!("{path}/restock"), json!({"units": units})),
        StockChange::Give { units } => (Method::POST, format!("{path}/allotments"), json!({"give": units})),
        StockChange::Take { units: Some(units) } => {
            (Method::POST, format!("{path}/allotments"), json!({"take": units}))
        }
        StockChange::Take { units: None } => (Method::POST, format!("{path}/allotments"), json!({"take": "rest"})),
    }
}

/// What the answer says of the row of stock; none where it is no row.
pub fn level(answer: &Value) -> Option<StockAnswer> {
    let number = |name: &str| answer[name].as_i64();
    Some(StockAnswer {
        moved: number("moved")?,
        on_hand: number("on_hand")?,
        reserved: number("reserved")?,
        shortfall: number("shortfall")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_comes_and_the_same_seed_asks_for_the_same() {
        let kind = |n| change(n, 7 + n);
        assert_eq!((0..20).map(kind).collect::<Vec<_>>(), (0..20).map(kind).collect::<Vec<_>>());
        let all: Vec<StockChange> = (0..100).map(kind).collect();
        assert!(all.iter().any(|change| matches!(change, StockChange::Count { .. })));
        assert!(all.iter().any(|change| matches!(change, StockChange::Give { .. })));
        assert!(all.iter().any(|change| matches!(change, StockChange::Restock { .. })));
        assert!(all.contains(&StockChange::Take { units: None }), "the rest");
        assert!(all.iter().any(|change| matches!(change, StockChange::Take { units: Some(_) })));
    }

    #[test]
    fn an_answer_is_known_by_all_its_numbers() {
        let answer = json!({"sku": "MUG", "on_hand": 3, "reserved": 5, "shortfall": 2, "moved": -4, "version": 9});
        let known = StockAnswer { moved: -4, on_hand: 3, reserved: 5, shortfall: 2 };
        assert_eq!(level(&answer), Some(known));
        assert_eq!(level(&json!({"on_hand": 3})), None);
    }
}
