//! What a worker says of itself.

use broker::announce::HEARTBEATS;
use broker::{Broker as _, Listener};
use flow::{Beat, LimitedBy};
use worker::Config;

use crate::site::{DEADLINE, Site, config, queue};

/// The messages of these tests are of 1970.
const YEARS_50_MS: u64 = 50 * 365 * 86_400 * 1_000;

/// The first heartbeat that is as wanted.
async fn heard(listener: &mut Listener, wanted: impl Fn(&Beat) -> bool) -> Beat {
    let hearing = async {
        loop {
            let bytes = listener.next().await.expect("the broker is open");
            let beat = Beat::from_bytes(&bytes).expect("a heartbeat");
            if wanted(&beat) {
                return beat;
            }
        }
    };
    tokio::time::timeout(DEADLINE, hearing).await.expect("the heartbeat comes")
}

#[tokio::test]
async fn a_worker_tells_what_it_did_how_old_it_was_and_what_holds_it_up() {
    let site = Site::new().await;
    let mut listener = site.broker.listen(HEARTBEATS);
    let running = site.work(Config { heartbeat_ms: 20, ..config() });
    let idle = heard(&mut listener, |beat| beat.taken_per_s.is_some()).await;
    assert_eq!((idle.queue.as_str(), idle.taken, idle.oldest_ms), (queue().name.as_str(), 0, None));
    assert_eq!(idle.limited_by, LimitedBy::Idle);

    site.publish(&[("a", "good"), ("b", "good")]).await;
    let old = heard(&mut listener, |beat| beat.oldest_ms.is_some()).await;
    assert!(old.oldest_ms.is_some_and(|ms| ms > YEARS_50_MS), "{old:?}");
    heard(&mut listener, |beat| (beat.handled, beat.in_hand) == (2, 0)).await;
    // Said once: a queue that is empty by now has no old messages.
    assert_eq!(heard(&mut listener, |_| true).await.oldest_ms, None);

    site.ledger.go_away("connection refused");
    site.publish(&[("c", "good")]).await;
    let held_up = heard(&mut listener, |beat| beat.limited_by == LimitedBy::Database).await;
    assert_eq!(held_up.worker, idle.worker);
    running.stop().await;
}
