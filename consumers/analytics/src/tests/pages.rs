use futures::future::join_all;
use model::Clock as _;
use sea_orm::ConnectionTrait as _;
use worker::Handler as _;

use super::fixture::{Fixture, both, days, envelope, event, handle, items};
use crate::sweep::sweep;
use crate::{Counting, Sketch};

const TOTALS: &str = "SELECT CAST(coalesce(sum(events), 0) AS bigint), CAST(coalesce(sum(views), 0) AS bigint) \
                      FROM page_rollups_minute";

impl Fixture {
    async fn visitors(&self) -> u64 {
        let sql = "SELECT sketch FROM campaign_visitors_minute";
        let rows = self.database.read().query_all_raw(self.database.statement(sql, [])).await.unwrap();
        let mut all = Sketch::default();
        for row in rows {
            let bytes: Vec<u8> = row.try_get("", "sketch").unwrap();
            all.merge(&Sketch::from_bytes(&bytes).unwrap());
        }
        all.estimate()
    }
}

#[tokio::test]
async fn a_batch_that_comes_twice_counts_once() {
    for fixture in both().await {
        let pages = fixture.pages();
        let batch = items([envelope(fixture.batch(0..100))]);
        handle(&pages, &batch).await;
        handle(&pages, &batch).await;
        // Within one batch of the worker too, and at another worker.
        handle(&fixture.pages(), &items([envelope(fixture.batch(0..100)), envelope(fixture.batch(90..110))])).await;
        assert_eq!(fixture.numbers(TOTALS).await, [110, 99]);
        assert_eq!(fixture.visitors().await, 55);
        let rows = "SELECT path || ' ' || campaign || ' ' || CAST(events AS text) FROM page_rollups_minute \
                    ORDER BY path, campaign";
        let expected = [
            "/p/0  18",
            "/p/0 black friday 19",
            "/p/1  19",
            "/p/1 black friday 18",
            "/p/2  18",
            "/p/2 black friday 18",
        ];
        assert_eq!(fixture.texts(rows).await, expected);
    }
}

#[tokio::test]
async fn the_same_id_of_another_source_is_another_event() {
    for fixture in both().await {
        let mut other = fixture.batch(0..1);
        other.source = "app".to_owned();
        handle(&fixture.pages(), &items([envelope(fixture.batch(0..1)), envelope(other)])).await;
        assert_eq!(fixture.numbers(TOTALS).await, [2, 2]);
    }
}

#[tokio::test]
async fn concurrent_workers_with_overlapping_batches_count_once_and_never_deadlock() {
    const WORKERS: u32 = 4;
    const ROUNDS: u32 = 5;
    /// So many that the inserts of two workers really run side by side.
    const EVENTS: u32 = 2_000;
    for fixture in both().await {
        for round in 0..ROUNDS {
            let work = (0..WORKERS).map(|worker| {
                // Every worker sees the events of the round in another order, and half of the next round's too.
                let ids = (0..EVENTS + EVENTS / 2).map(move |n| (n * 7 + worker * 997) % (EVENTS + EVENTS / 2));
                let batch = items([envelope(fixture.batch(ids.map(|id| round * EVENTS + id)))]);
                let pages = fixture.pages();
                async move { pages.handle(&batch).await }
            });
            for result in join_all(work).await {
                result.expect("sorted rows leave no cycle to wait in");
            }
        }
        let all = ROUNDS * EVENTS + EVENTS / 2;
        assert_eq!(fixture.numbers(TOTALS).await, [all, all - all / 10].map(i64::from));
    }
}

#[tokio::test]
async fn many_visitors_are_estimated_within_the_error_of_the_sketch() {
    for fixture in both().await {
        let pages = fixture.pages();
        for start in (0..20_000).step_by(2_500) {
            handle(&pages, &items([envelope(fixture.batch(start..start + 2_500))])).await;
        }
        let estimate = fixture.visitors().await;
        assert!(estimate.abs_diff(10_000) <= 650, "{estimate} for 10000 visitors: above 4 standard errors");
    }
}

#[tokio::test]
async fn an_event_older_than_its_id_would_be_kept_is_not_counted_any_more() {
    for fixture in both().await {
        let old = envelope(fixture.batch(0..5));
        fixture.clock.advance(days(8));
        handle(&fixture.pages(), &items([old, envelope(fixture.batch(5..8))])).await;
        assert_eq!(fixture.numbers(TOTALS).await, [3, 3]);
    }
}

#[tokio::test]
async fn a_sweep_deletes_old_ids_in_batches_and_no_others() {
    for fixture in both().await {
        handle(&fixture.pages(), &items([envelope(fixture.batch(0..10))])).await;
        let old = "UPDATE page_events_seen SET seen_at = $1 WHERE message_id IN ('m1', 'm2', 'm3', 'm4', 'm5')";
        fixture.execute(old, ["2020-01-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap().into()]).await;
        assert_eq!(sweep(&fixture.database, &Counting::default(), 2).await.unwrap(), 5);
        assert_eq!(fixture.numbers("SELECT count(*) FROM page_events_seen").await, [5]);
        assert_eq!(sweep(&fixture.database, &Counting::default(), 2).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_flood_of_paths_becomes_one_row() {
    for mut fixture in both().await {
        fixture.counting = Counting { max_paths: 10, ..Counting::default() };
        let mut batch = fixture.batch([]);
        batch.events = (0..500).map(|id| events::PageEvent { path: Some(format!("/x/{id}")), ..event(id) }).collect();
        handle(&fixture.pages(), &items([envelope(batch)])).await;
        assert_eq!(fixture.numbers("SELECT count(DISTINCT path) FROM page_rollups_minute").await, [11]);
        assert_eq!(fixture.numbers(TOTALS).await, [500, 450]);
    }
}

#[tokio::test]
async fn texts_that_a_database_refuses_are_cleaned_and_never_poison_a_batch() {
    for fixture in both().await {
        let mut batch = fixture.batch(0..3);
        batch.events[0].path = Some("/nul\0/\u{1b}[31m".to_owned());
        batch.events[1].campaign = Some("ö".repeat(4_000));
        batch.events[2].visitor = "\0".to_owned();
        handle(&fixture.pages(), &items([envelope(batch)])).await;
        assert_eq!(fixture.numbers(TOTALS).await, [3, 3]);
    }
}

#[tokio::test]
async fn progress_tells_the_newest_time_counted_and_never_goes_back() {
    for fixture in both().await {
        let (earlier, start) = (envelope(fixture.batch(0..1)), fixture.clock.now());
        fixture.clock.advance(chrono::TimeDelta::milliseconds(1_500));
        handle(&fixture.pages(), &items([envelope(fixture.batch(1..2))])).await;
        handle(&fixture.pages(), &items([earlier])).await;
        let sql = "SELECT counted_through FROM analytics_progress WHERE feed = 'pages/eu'";
        let row = fixture.database.read().query_one_raw(fixture.database.statement(sql, [])).await.unwrap().unwrap();
        let through: chrono::DateTime<chrono::Utc> = row.try_get_by_index(0).unwrap();
        assert_eq!(through, start + chrono::TimeDelta::milliseconds(1_500));
    }
}

#[tokio::test]
async fn an_unknown_kind_and_a_broken_body_are_told_apart() {
    let [fixture, _] = both().await;
    let message = envelope(fixture.batch(0..1)).to_message();
    assert!(fixture.pages().decode(&message).is_ok());
    let broken = model::Message { body: message.body.slice(1..), ..message.clone() };
    assert!(matches!(fixture.pages().decode(&broken), Err(events::DecodeError::Malformed(_))));
    assert!(matches!(fixture.orders().decode(&message), Err(events::DecodeError::Unknown { .. })));
}
