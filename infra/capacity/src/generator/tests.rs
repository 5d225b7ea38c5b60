use std::collections::VecDeque;

use tokio::time::sleep;

use super::*;
use crate::journal::Sync;
use crate::live::Snapshot;
use crate::mix::{Article, Popularity, What};
use crate::verify::Claims;

/// In the place of a connection: it answers after these times, the last of them again and again.
struct Slow(VecDeque<Duration>);

impl Line for Slow {
    async fn post(&mut self, _: u64, _: What) -> Reply {
        let time = if self.0.len() > 1 { self.0.pop_front() } else { self.0.front().copied() };
        sleep(time.unwrap_or_default()).await;
        Reply::Answered { status: 202, order_id: None, refusal: None }
    }

    fn hang_up(&mut self) {}
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn run(config: Config, load: Load, answers_in: &[Duration]) -> (Outcome, Snapshot) {
    let article = Article { sku: "MUG".to_owned(), unit_price_minor: 1 };
    let mix = Mix::orders("run", "EUR", vec![article], Popularity::InTurn, 1).unwrap();
    let (live, stop) = (Arc::new(Live::default()), CancellationToken::new());
    let connect = || Slow(answers_in.iter().copied().collect());
    let outcome = drive(config, load, mix, connect, Journal::pen(None), Arc::clone(&live), stop).await.unwrap();
    (outcome, live.snapshot())
}

fn one_connection() -> Config {
    Config { connections: 1, ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn latency_counts_from_the_planned_time_so_one_stall_delays_all_behind_it() {
    // A hundred a second; the first answer takes a second, every other a millisecond.
    let load = Load::Open(Shape::constant(100.0, Duration::from_secs(2)));
    let (_, snapshot) = run(one_connection(), load, &[Duration::from_secs(1), ms(1)]).await;
    assert_eq!((snapshot.counts.planned, snapshot.counts.accepted), (200, 200));
    let latency = snapshot.latency.unwrap();
    // A closed loop would report a median of 1 ms. Half of those that came while the first one stalled waited longer than
    // half of the stall.
    assert!(latency.max_us >= 990_000, "{latency:?}");
    assert!(latency.p50_us >= 10_000, "{latency:?}");
    assert!(snapshot.most_waiting >= 90, "{}", snapshot.most_waiting);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_does_not_slow_the_next_request_while_a_connection_is_free() {
    let load = Load::Open(Shape::constant(10.0, Duration::from_secs(1)));
    let config = Config { connections: 10, ..Config::default() };
    let (outcome, snapshot) = run(config, load, &[Duration::from_secs(5)]).await;
    assert_eq!(snapshot.seconds[0].counts.sent, 10, "all were sent in the first second");
    assert!(snapshot.latency.unwrap().max_us < 5_050_000, "{:?}", snapshot.latency);
    assert!(outcome.took < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn an_arrival_beyond_the_waiting_room_is_counted_as_not_sent() {
    let load = Load::Open(Shape::constant(100.0, Duration::from_secs(1)));
    let config = Config { max_waiting: 5, ..one_connection() };
    let (_, snapshot) = run(config, load, &[Duration::from_secs(3)]).await;
    let counts = snapshot.counts;
    assert_eq!((counts.planned, counts.sent, counts.not_sent), (100, 6, 94));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_in_time_is_unknown() {
    let load = Load::Open(Shape::constant(1.0, Duration::from_secs(1)));
    let config = Config { answer_within: ms(100), ..one_connection() };
    let (_, snapshot) = run(config, load, &[Duration::from_secs(3)]).await;
    assert_eq!((snapshot.counts.unanswered, snapshot.counts.accepted), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_saturating_run_sends_the_next_when_the_last_is_answered() {
    let config = Config { connections: 4, ..Config::default() };
    let (_, snapshot) = run(config, Load::Saturate(Duration::from_secs(1)), &[ms(10)]).await;
    assert!((380..=404).contains(&snapshot.counts.accepted), "{:?}", snapshot.counts);
    assert_eq!(snapshot.counts.not_sent, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_run_and_keeps_what_was_in_flight() {
    let article = Article { sku: "MUG".to_owned(), unit_price_minor: 1 };
    let mix = Mix::orders("run", "EUR", vec![article], Popularity::InTurn, 1).unwrap();
    let (live, stop) = (Arc::new(Live::default()), CancellationToken::new());
    let load = Load::Open(Shape::constant(10.0, Duration::from_mins(1)));
    let connect = || Slow([ms(400)].into());
    let driven = drive(one_connection(), load, mix, connect, Journal::pen(None), Arc::clone(&live), stop.clone());
    let stopping = async {
        sleep(ms(950)).await;
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(driven, stopping);
    assert!(outcome.unwrap().stopped);
    let counts = live.snapshot().counts;
    assert_eq!(counts.planned, counts.sent + counts.not_sent);
    assert_eq!((counts.sent, counts.accepted), (3, 3), "the one in flight was answered");
    assert!(counts.planned <= 13, "{counts:?}");
}

#[tokio::test]
async fn a_run_that_turned_away_more_than_was_reserved_can_be_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let article = Article { sku: "MUG".to_owned(), unit_price_minor: 1 };
    let mix = Mix::orders("run", "EUR", vec![article], Popularity::InTurn, 1).unwrap();
    let journal = Journal::create(&path, &mix, Sync::Never).unwrap();
    let (live, stop) = (Arc::new(Live::default()), CancellationToken::new());
    // All hundred thousand are due while the first is answered; the journal reserves 65,536 numbers at first.
    let load = Load::Open(Shape::constant(1_000_000.0, ms(100)));
    let config = Config { max_waiting: 5, ..one_connection() };
    let connect = || Slow([ms(300), ms(1)].into());
    drive(config, load, mix, connect, Journal::pen(Some(&journal)), Arc::clone(&live), stop).await.unwrap();
    journal.finish().await.unwrap();
    let not_sent = live.snapshot().counts.not_sent;
    assert!(not_sent > 65_536, "{not_sent}");
    assert!(Claims::read(&path).unwrap().is_complete());
}
