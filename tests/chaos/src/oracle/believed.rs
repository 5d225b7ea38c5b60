//! Orders that changed while the cache could not be told. Those that the shop cancelled it holds as `confirmed` yet: for a while
//! after its acceptance such an order may be shown so, which is the published bound. Those that were paid, or whose time was up, it
//! holds as `reserved`, which nobody may believe while there is a database to ask. From then on whoever has the order's status URL
//! is told what the row says. So they are asked for, as a stranger would.
//!
//! The storefront takes an order's age by its own clock, and so does this. Where the ingress' clock was an hour off an order seems
//! old or young by that much, in either direction: to both alike.

use std::collections::HashMap;
use std::time::Duration;

use capacity::{Breaches, Guarantee};
use chrono::{DateTime, TimeDelta, Utc};
use model::{Clock as _, SystemClock};
use testkit::http::Http;
use tokio::time::{Instant, interval};
use uuid::Uuid;

use super::cached::Said;
use super::evidence::Evidence;

/// `storefront.trust_confirmed_s`, and some for the way there.
const BOUND: TimeDelta = TimeDelta::seconds(300 + 15);
/// How long all of them are asked, once at least: right after a fault a storefront may have no connection to its database yet, and
/// shows what the cache has.
const ASKED_FOR: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(250);
/// The state of an order whose units are held.
pub(super) const RESERVED: &str = "reserved";

/// An order of which the cache has an older version than its row.
#[derive(Debug, Clone)]
pub(super) struct Behind {
    pub(super) id: Uuid,
    /// What the cache says.
    pub(super) held: Said,
    pub(super) row: Said,
    pub(super) accepted_at: DateTime<Utc>,
}

impl Behind {
    /// Whether nobody may be shown the older version any more.
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.held.state == RESERVED || (now - self.accepted_at).abs() >= BOUND
    }

    fn compare(&self, shown: Option<&Said>) -> Breaches {
        let mut breaches = Breaches::default();
        if shown != Some(&self.row) {
            let subject = format!("the status of order {}, as it is shown", self.id);
            breaches.add(Guarantee::Cached, subject, format!("{:?}", self.row), format!("{shown:?}"));
        }
        breaches
    }
}

/// Asks for those whose time is over. Nobody is asked where no storefront was named; and an order that nobody cancelled or held has
/// no status URL here: it is a breach by itself (`taken_back.rs`, `reserved.rs`).
pub(super) async fn judge(evidence: &Evidence, behind: &[Behind]) -> Breaches {
    let mut breaches = Breaches::default();
    let Some(storefront) = &evidence.storefront else { return breaches };
    let held = evidence.reserving.iter().flat_map(|reserving| &reserving.held);
    let held = held.map(|one| (one.order, one.status_path.as_str()));
    let asked = evidence.asked.iter().map(|one| (one.order, one.status_path.as_str()));
    let paths: HashMap<Uuid, &str> = asked.chain(held).collect();
    let (http, begun) = (Http::new(), Instant::now());
    for one in behind.iter().filter(|one| one.is_over(SystemClock.now())) {
        let Some(path) = paths.get(&one.id) else { continue };
        let url = format!("{storefront}{path}");
        let mut again = interval(ASK_EVERY);
        let found = loop {
            again.tick().await;
            let found = one.compare(shown(&http, &url).await.as_ref());
            if found.is_empty() || begun.elapsed() >= ASKED_FOR {
                break found;
            }
        };
        breaches.extend(found);
    }
    breaches
}

async fn shown(http: &Http, url: &str) -> Option<Said> {
    let answer = http.get(url).await.ok()?.json();
    Some(Said { version: answer["version"].as_i64()?, state: answer["state"].as_str()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(version: i64, state: &str) -> Said {
        Said { version, state: state.to_owned() }
    }

    fn cancelled() -> Behind {
        let (held, row) = (said(1, "confirmed"), said(2, "released"));
        Behind { id: Uuid::from_u128(7), held, row, accepted_at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn a_cancelled_order_is_shown_as_confirmed_for_its_time_and_no_longer() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        assert!(!cancelled().is_over(at(299)) && cancelled().is_over(at(315)));
        assert!(!cancelled().is_over(at(-299)) && cancelled().is_over(at(-3_600)), "accepted by a clock that is ahead");
    }

    #[test]
    fn a_reservation_that_was_paid_or_ran_out_is_believed_to_stand_by_nobody() {
        let paid = Behind { held: said(1, RESERVED), row: said(3, "confirmed"), ..cancelled() };
        assert!(paid.is_over(DateTime::UNIX_EPOCH), "at once");
    }

    #[test]
    fn whoever_asks_then_is_told_what_the_row_says() {
        let breaches = |shown: Option<Said>| cancelled().compare(shown.as_ref()).of(Guarantee::Cached);
        assert_eq!(breaches(Some(said(2, "released"))), 0);
        assert_eq!(breaches(Some(said(1, "confirmed"))), 1, "believed for ever");
        assert_eq!(breaches(None), 1, "nobody answers");
    }
}
