//! From the parked queues into the table.

use std::collections::BTreeSet;

use broker::{Publish, QueueName, layout};
use model::{Message, headers};
use testkit::wait;

use super::site::{Site, checkout, config, message, on_both};
use crate::Config;

on_both!(
    a_message_parked_twice_is_one_row_that_counts_up,
    whatever_is_parked_is_kept_as_it_was,
    another_message_with_the_same_id_is_kept_beside_the_first,
    what_has_ended_is_opened_by_a_new_failure_and_not_by_a_copy_of_an_old_one,
    a_database_that_is_away_loses_nothing,
    two_parkers_at_once_keep_every_message_once,
    what_no_queue_wanted_is_parked_too,
);

async fn a_message_parked_twice_is_one_row_that_counts_up(site: Site) {
    let parker = site.parker(config());
    site.park(&[message("a", "1", "poison: the total is 3"), message("b", "2", "poison: the total is 4")]).await;
    let first = site.row_once("a", |row| row.times == 1).await;
    site.park(&[message("a", "1", "later: not yet")]).await;
    let again = site.row_once("a", |row| row.times == 2).await;
    assert_eq!((again.reason.as_str(), again.reason_key.as_str()), ("later: not yet", "later: not yet"));
    assert_eq!(again.first_parked_at, first.first_parked_at);
    assert!(again.last_parked_at >= first.last_parked_at);
    assert_eq!((again.state.as_str(), again.queue.as_str()), ("open", checkout().as_str()));
    assert_eq!(site.rows().await.len(), 2);
    site.until_ready(&checkout().parked(), 0).await;
    let shown = format!("millpond_parked_open_messages{{queue=\"{}\"}} 2.0\n", checkout());
    wait::until("the gauge shows two", || async { parker.metrics.text().contains(&shown).then_some(()) })
        .await
        .unwrap();
    parker.stop().await;
}

async fn whatever_is_parked_is_kept_as_it_was(site: Site) {
    let bytes = |body: &[u8]| Message { body: body.to_vec().into(), ..message("bytes", "", "malformed: not text") };
    let nul = message("nul", "a\0b", "malformed: \0");
    let mut large = message("large", &"x".repeat(1 << 20), "poison: too much");
    large.headers.insert("x-large".to_owned(), "h".repeat(20_000));
    let mut bare = message("bare", "", "");
    bare.headers.clear();
    let kinds = Message { kind: String::new(), content_type: String::new(), ..message("kinds", "[", "malformed: EOF") };
    let all = [bytes(&[0xff, 0x00, 0xfe]), nul, large, bare, kinds];
    site.park(&all).await;
    let parker = site.parker(config());
    let rows = site.until_rows(all.len()).await;
    for message in &all {
        let row = &rows[message.id.as_str()];
        assert_eq!((&row.body[..], row.kind.as_str()), (&message.body[..], message.kind.as_str()));
        assert_eq!(row.published_at, message.timestamp);
        assert!(!row.reason.is_empty() && !row.reason_key.is_empty());
    }
    assert_eq!(rows["large"].headers["x-large"].as_str().unwrap().len(), 20_000);
    assert_eq!(rows["nul"].headers["x-shop"], "größer");
    parker.stop().await;
}

async fn another_message_with_the_same_id_is_kept_beside_the_first(site: Site) {
    let parker = site.parker(config());
    site.park(&[message("1", "first", "poison: x")]).await;
    site.until_rows(1).await;
    // In one batch, and again in others.
    site.park(&[message("1", "second", "poison: x"), message("1", "first", "poison: x")]).await;
    site.until_rows(2).await;
    site.park(&[message("1", "second", "poison: x"), message("1", "third", "poison: x")]).await;
    site.until_rows(3).await;
    site.until_ready(&checkout().parked(), 0).await;
    let counted = || async {
        let rows = site.rows().await;
        (rows.values().map(|row| row.times).sum::<i32>() == 5).then_some(rows)
    };
    let rows = wait::until("all five are counted", counted).await.unwrap();
    let bodies: BTreeSet<(&[u8], i32, &str)> =
        rows.values().map(|row| (&row.body[..], row.times, row.own_id.as_str())).collect();
    assert_eq!(bodies, BTreeSet::from([(&b"first"[..], 2, "1"), (b"second", 2, "1"), (b"third", 1, "1")]));
    parker.stop().await;
}

async fn what_has_ended_is_opened_by_a_new_failure_and_not_by_a_copy_of_an_old_one(site: Site) {
    let parker = site.parker(Config { check_ms: 3_600_000, ..config() });
    let of_replay = |n: u32| {
        let mut copy = message("a", "1", "poison: x");
        copy.headers.insert(headers::REPLAYED.to_owned(), n.to_string());
        copy
    };
    // Which state stays with a copy of the first, and which with one of the latest replay.
    for (times, ended, of_first, of_latest) in
        [(1, "closed", "closed", "open"), (4, "discarded", "discarded", "discarded")]
    {
        site.park(&[of_replay(1)]).await;
        site.row_once("a", |row| row.times == times).await;
        let now = site.database().backend().now_sql();
        let sql = format!("UPDATE parked_messages SET state = $1, replays = 1, ended_at = {now}, note = 'n'");
        site.execute(&sql, [ended.into()]).await;
        site.park(&[of_replay(0)]).await;
        let row = site.row_once("a", |row| row.times == times + 1).await;
        assert_eq!((row.state.as_str(), row.note.as_deref(), row.ended_at.is_some()), (of_first, Some("n"), true));
        site.park(&[of_replay(1)]).await;
        let row = site.row_once("a", |row| row.times == times + 2).await;
        assert_eq!(row.state, of_latest, "{ended}");
        assert_eq!(row.ended_at.is_some(), of_latest != "open");
        assert_eq!(row.note.is_some(), of_latest != "open");
    }
    parker.stop().await;
}

async fn a_database_that_is_away_loses_nothing(mut site: Site) {
    site.execute("ALTER TABLE parked_messages RENAME TO elsewhere", []).await;
    let parker = site.parker(config());
    let all: Vec<Message> = (0..60).map(|n| message(&format!("m-{n}"), "1", "poison: x")).collect();
    site.park(&all).await;
    let series = format!("millpond_breaker_openings_total{{queue=\"{}\",database=\"main\"}} ", checkout().parked());
    wait::until("the parker has met it", || async {
        let text = parker.metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&series))?;
        (line.parse::<u64>().ok()? >= 3).then_some(())
    })
    .await
    .unwrap();
    if let Some(server) = &site.server {
        server.cut_connections().await.unwrap();
    }
    // The site's own connections were cut, too: through others.
    let home = super::site::open(&site.url);
    let database = &home.databases()[0];
    let tx = database.begin().await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(&*tx, "ALTER TABLE elsewhere RENAME TO parked_messages")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    site.databases = home.clone();
    let rows = site.until_rows(60).await;
    assert!(all.iter().all(|message| rows.contains_key(message.id.as_str())));
    site.until_ready(&checkout().parked(), 0).await;
    parker.stop().await;
}

async fn two_parkers_at_once_keep_every_message_once(site: Site) {
    let all: Vec<Message> = (0..300).map(|n| message(&format!("m-{}", n % 150), "1", "poison: x")).collect();
    let parkers = [site.parker(config()), site.parker(config())];
    for some in all.chunks(60) {
        site.park(some).await;
    }
    // One of them goes while it works; what it held comes again.
    let [first, second] = parkers;
    first.kill().await;
    let rows = site.until_rows(150).await;
    site.until_ready(&checkout().parked(), 0).await;
    assert_eq!(rows.len(), 150);
    let counted = || async { site.rows().await.values().all(|row| row.times >= 2).then_some(()) };
    wait::until("each was counted twice at least", counted).await.unwrap();
    assert!(site.rows().await.values().all(|row| row.state == "open"));
    second.stop().await;
}

async fn what_no_queue_wanted_is_parked_too(site: Site) {
    let parker = site.parker(config());
    let mut lost = message("lost", "1", "");
    lost.headers.remove(headers::REASON);
    lost.headers.remove(headers::ORIGIN_QUEUE);
    let publish =
        Publish { exchange: layout::orders_exchange(), routing_key: "order.placed.nowhere".to_owned(), message: lost };
    site.broker.publish(vec![publish]).await.remove(0).unwrap();
    let row = site.row_once("lost", |row| row.state == "open").await;
    assert_eq!(row.queue, QueueName::unrouted().as_str());
    assert!(row.reason.starts_with("unrouted"), "{}", row.reason);
    site.until_ready(&QueueName::unrouted(), 0).await;
    parker.stop().await;
}
