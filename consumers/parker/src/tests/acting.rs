//! What operators see and do, and what closes by itself.

use broker::layout;
use events::{
    Attribution, Envelope, OrderRefunded, OrderReleased, PageBatch, PageEvent, PageEventKind, ProductChanged,
    RefundedLine, ReleaseCause,
};
use model::{Clock as _, Currency, Message, OrderId, SystemClock, headers};
use sea_orm::ConnectionTrait as _;

use super::site::{PATIENCE, REGION, Site, Trail, checkout, config, message, on_both, one};
use crate::{Config, DeskError, Page, Selection};

on_both!(
    groups_have_counts_times_and_a_redacted_sample,
    every_message_of_a_group_is_listed_page_by_page_whatever_became_of_it,
    what_is_discarded_is_kept_with_its_reason_and_can_be_replayed_yet,
    what_can_not_be_written_down_is_not_done,
    a_page_batch_closes_when_every_event_of_it_was_counted,
    what_was_taken_back_of_an_order_closes_when_it_was_counted,
    what_leaves_no_trace_closes_when_it_stayed_quiet_after_its_replay,
    what_can_be_closed_is_closed_however_much_and_whoever_holds_some_of_it,
    what_ended_long_ago_is_deleted_and_nothing_else,
);

async fn groups_have_counts_times_and_a_redacted_sample(site: Site) {
    let order = |n: u32| {
        let body = format!("{{\"data\":{{\"customer\":\"ada-{n}@example.org\",\"total_minor\":{n}}}}}");
        message(&format!("m-{n}"), &body, &format!("poison: string \"Ada {n}\" at line {n}"))
    };
    let parker = site.parker(config());
    site.park(&[order(1), order(2), order(3), message("other", "1", "later: no")]).await;
    site.until_rows(4).await;
    let listing = site.desk().list(&Selection::default(), 100, PATIENCE).await;
    assert_eq!((listing.groups.len(), listing.silent.len()), (2, 0));
    let group = listing.groups.iter().find(|group| group.open == 3).unwrap();
    assert_eq!((group.queue.as_str(), group.kind.as_str()), (checkout().as_str(), "order.placed"));
    assert_eq!((group.reason.as_str(), group.times), ("poison: string … at line #", 3));
    assert!(group.first_parked_at <= group.last_parked_at);
    let sample = group.sample.clone().unwrap();
    assert!(sample.body["data"]["total_minor"].is_number());
    let everything = serde_json::to_string(&listing).unwrap();
    assert!(!everything.contains("ada-") && !everything.contains("Ada"), "{everything}");
    let shown = site.desk().show(checkout().as_str(), "m-2").await.unwrap().unwrap();
    assert_eq!((shown.member.reason.as_str(), shown.member.state.as_str()), ("poison: string … at line 2", "open"));
    assert_eq!(site.desk().show(checkout().as_str(), "nobody").await.unwrap(), None);
    parker.stop().await;
}

async fn every_message_of_a_group_is_listed_page_by_page_whatever_became_of_it(site: Site) {
    let order = |n: u32| message(&format!("m-{n}"), "1", &format!("poison: string \"Ada {n}\""));
    let parker = site.parker(config());
    site.park(&[order(1), order(2), order(3), message("M/other", "1", "later: no")]).await;
    site.until_rows(4).await;
    let desk = site.desk();
    let ids = async |selection: &Selection, state: Option<&str>, limit: u32| {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = Page::read(state, after.as_deref(), limit).unwrap();
            let listing = desk.messages(selection, &page, PATIENCE).await;
            assert!(listing.silent.is_empty() && listing.messages.len() <= limit as usize, "{listing:?}");
            ids.extend(listing.messages.into_iter().map(|message| message.message_id));
            match listing.next {
                None => return ids,
                next => after = next,
            }
        }
    };
    let everything = Selection::default();
    for limit in [1, 2, 3, 4, 1_000] {
        assert_eq!(ids(&everything, None, limit).await, ["M/other", "m-1", "m-2", "m-3"], "{limit} at once");
    }
    let group = Selection { reason: Some("poison: string …".to_owned()), ..Selection::default() };
    desk.discard(&one("m-2"), "a test order", "ada", &Trail::default()).await.unwrap();
    assert_eq!(ids(&group, None, 9).await, ["m-1", "m-3"]);
    assert_eq!(ids(&group, Some("discarded"), 9).await, ["m-2"]);
    assert_eq!(ids(&group, Some("open,discarded"), 1).await, ["m-1", "m-2", "m-3"]);

    let listing = desk.messages(&everything, &Page::read(Some("discarded"), None, 9).unwrap(), PATIENCE).await;
    let gone = &listing.messages[0];
    assert_eq!((gone.queue.as_str(), gone.note.as_deref()), (checkout().as_str(), Some("a test order")));
    assert_eq!((gone.reason.as_str(), gone.state.as_str()), ("poison: string …", "discarded"));
    for (state, after) in [(Some("gone"), None), (Some(""), None), (None, Some("no-queue"))] {
        assert!(Page::read(state, after, 9).is_err(), "{state:?} {after:?}");
    }
    parker.stop().await;
}

async fn what_is_discarded_is_kept_with_its_reason_and_can_be_replayed_yet(site: Site) {
    let parker = site.parker(config());
    site.park(&[message("a", "1", "poison: x"), message("b", "2", "poison: x"), message("c", "3", "later: y")]).await;
    site.until_rows(3).await;
    let (desk, trail) = (site.desk(), Trail::default());
    let group = Selection { reason: Some("poison: x".to_owned()), ..Selection::default() };
    for reason in ["", " ", &"x".repeat(501)] {
        assert!(matches!(desk.discard(&group, reason, "ada", &trail).await, Err(DeskError::Invalid(_))));
    }
    assert_eq!(desk.discard(&group, "a test order", "ada", &trail).await.unwrap(), 2);
    let rows = site.rows().await;
    assert_eq!((rows["a"].state.as_str(), rows["a"].note.as_deref()), ("discarded", Some("a test order")));
    assert_eq!((rows["b"].state.as_str(), rows["c"].state.as_str()), ("discarded", "open"));
    assert_eq!(
        desk.list(&Selection::default(), 9, PATIENCE).await.groups.len(),
        1,
        "what is discarded is out of sight"
    );
    assert_eq!(desk.replay(&group, None, "ada", &trail).await.unwrap(), 0, "nor is it in its group any more");
    assert_eq!(desk.replay(&one("b"), None, "bob", &trail).await.unwrap(), 1);
    site.row_once("b", |row| row.state == "replayed").await;
    let deeds: Vec<_> =
        trail.deeds.lock().unwrap().iter().map(|deed| (deed.action, deed.operator.clone(), deed.messages)).collect();
    assert_eq!(deeds, [("parked.discard", "ada".to_owned(), 2), ("parked.replay", "bob".to_owned(), 1)]);
    parker.stop().await;
}

async fn what_can_not_be_written_down_is_not_done(site: Site) {
    let parker = site.parker(config());
    site.park(&[message("a", "1", "poison: x")]).await;
    site.until_rows(1).await;
    let trail = Trail { refuses: true, ..Trail::default() };
    assert!(site.desk().discard(&one("a"), "gone", "ada", &trail).await.is_err());
    assert!(site.desk().replay(&one("a"), None, "ada", &trail).await.is_err());
    let row = site.rows().await.remove("a").unwrap();
    assert_eq!((row.state.as_str(), row.note, row.replay_id), ("open", None, None));
    parker.stop().await;
}

/// `message` as the consumer of `queue` parks it.
async fn park_in(site: &Site, queue: &broker::QueueName, mut message: Message) {
    message.headers.insert(headers::REASON.to_owned(), "poison: x".to_owned());
    let publish = broker::Publish::to_queue(&queue.parked(), message);
    site.broker.publish(vec![publish]).await.remove(0).unwrap();
}

async fn a_page_batch_closes_when_every_event_of_it_was_counted(site: Site) {
    let event = |id: &str| PageEvent {
        message_id: id.parse().unwrap(),
        kind: PageEventKind::Page,
        name: None,
        visitor: "v".to_owned(),
        client_time: None,
        path: None,
        campaign: None,
        products: Vec::new(),
    };
    let data = PageBatch {
        market: "eu".parse().unwrap(),
        source: "web".to_owned(),
        received_at: SystemClock.now(),
        events: vec![event("e-1"), event("e-2")],
    };
    let batch = Envelope::new(&SystemClock, "ingress", data).to_message();
    let id = batch.id.to_string();
    park_in(&site, &layout::analytics_pages_queue(), batch).await;
    let parker = site.parker(Config { check_ms: 3_600_000, ..config() });
    site.until_rows(1).await;
    let upkeep = site.upkeep(config());
    let count = async |event: &str| {
        site.execute("INSERT INTO page_events_seen (source, message_id) VALUES ('web', $1)", [event.into()]).await;
    };
    count("e-1").await;
    assert_eq!(upkeep.close().await.unwrap(), 0, "half of it is not all of it");
    count("e-2").await;
    assert_eq!(upkeep.close().await.unwrap(), 1);
    let row = site.rows().await.remove(&id).unwrap();
    assert_eq!((row.state.as_str(), row.note.as_deref()), ("closed", Some("its effect exists")));
    parker.stop().await;
}

fn order_id(key: &str) -> OrderId {
    OrderId::derive(REGION, &"eu".parse().unwrap(), &key.parse().unwrap())
}

fn released(key: &str, was_confirmed: bool) -> Message {
    let now = SystemClock.now();
    let data = OrderReleased {
        order_id: order_id(key),
        market: "eu".parse().unwrap(),
        region: REGION,
        accepted_at: now,
        released_at: now,
        cause: ReleaseCause::Cancelled,
        was_confirmed,
        currency: Currency::from_code("EUR").unwrap(),
        total_minor: 100,
        units: 1,
        attribution: Attribution::default(),
    };
    Envelope::new(&SystemClock, "checkout", data).to_message()
}

fn refunded(key: &str, reference: &str) -> Message {
    let now = SystemClock.now();
    let line = RefundedLine {
        sku: "MUG".parse().unwrap(),
        quantity: 1.try_into().unwrap(),
        restocked: true,
        amount_minor: 100,
    };
    let data = OrderRefunded {
        order_id: order_id(key),
        reference: reference.parse().unwrap(),
        market: "eu".parse().unwrap(),
        region: REGION,
        accepted_at: now,
        refunded_at: now,
        currency: Currency::from_code("EUR").unwrap(),
        lines: vec![line],
        attribution: Attribution::default(),
    };
    Envelope::new(&SystemClock, "checkout", data).to_message()
}

async fn what_was_taken_back_of_an_order_closes_when_it_was_counted(site: Site) {
    let facts = [released("k-1", true), released("k-2", false), refunded("k-3", "r-1"), refunded("k-3", "r-2")];
    let ids = facts.each_ref().map(|fact| fact.id.to_string());
    for fact in facts {
        park_in(&site, &layout::analytics_orders_queue(), fact).await;
    }
    let parker = site.parker(Config { check_ms: 3_600_000, ..config() });
    site.until_rows(4).await;
    let upkeep = site.upkeep(config());
    assert_eq!(upkeep.close().await.unwrap(), 0);
    for (key, what) in [("k-1", "release"), ("k-2", "release"), ("k-3", "refund/r-1")] {
        let sql = "INSERT INTO revenue_taken_back (order_id, reference) VALUES ($1, $2)";
        site.execute(sql, [order_id(key).as_uuid().into(), what.into()]).await;
    }
    assert_eq!(upkeep.close().await.unwrap(), 2);
    let rows = site.rows().await;
    let states = ids.map(|id| rows[&id].state.clone());
    // What was never a sale leaves nothing behind; of two refunds one was counted.
    assert_eq!(states, ["closed", "open", "closed", "open"]);
    parker.stop().await;
}

async fn what_leaves_no_trace_closes_when_it_stayed_quiet_after_its_replay(site: Site) {
    let data =
        ProductChanged { region: "eu".parse().unwrap(), sku: "MUG".parse().unwrap(), version: 1, collections: vec![] };
    let change = Envelope::new(&SystemClock, "import", data).to_message();
    let id = change.id.to_string();
    park_in(&site, &layout::invalidation_queue(), change).await;
    let parker = site.parker(Config { check_ms: 3_600_000, ..config() });
    site.until_rows(1).await;
    let quiet = |close_after_s| site.upkeep(Config { close_after_s, ..config() });
    assert_eq!(quiet(0).close().await.unwrap(), 0, "nobody has replayed it");
    site.desk().replay(&Selection { all: true, ..Selection::default() }, None, "ada", &Trail::default()).await.unwrap();
    site.row_once(&id, |row| row.state == "replayed").await;
    assert_eq!(quiet(3_600).close().await.unwrap(), 0, "it may yet be parked again");
    assert_eq!(quiet(0).close().await.unwrap(), 1);
    assert_eq!(site.rows().await[&id].state, "closed");
    parker.stop().await;
}

async fn what_can_be_closed_is_closed_however_much_and_whoever_holds_some_of_it(site: Site) {
    let parker = site.parker(Config { check_ms: 3_600_000, ..config() });
    site.park(&["a", "b", "c", "d", "e"].map(|id| message(id, "1", "poison: x"))).await;
    site.until_rows(5).await;
    let long_ago = SystemClock.now() - chrono::TimeDelta::days(1);
    site.execute("UPDATE parked_messages SET state = 'replayed', replayed_at = $1", [long_ago.into()]).await;
    let upkeep = site.upkeep(Config { check_batch: 2, close_after_s: 0, ..config() });
    let mut closed = 0;
    // An embedded database has one writer, and nobody beside it holds a row.
    if site.server.is_some() {
        let operator = site.database().begin().await.unwrap();
        let sql = "UPDATE parked_messages SET note = 'in hand' WHERE message_id = 'b'";
        operator.execute_raw(site.database().statement(sql, [])).await.unwrap();
        closed = upkeep.close().await.unwrap();
        assert_eq!(closed, 4, "it waits for nobody");
        operator.rollback().await.unwrap();
    }
    assert_eq!(closed + upkeep.close().await.unwrap(), 5);
    assert!(site.rows().await.values().all(|row| row.state == "closed"));
    parker.stop().await;
}

async fn what_ended_long_ago_is_deleted_and_nothing_else(site: Site) {
    let parker = site.parker(Config { check_ms: 3_600_000, ..config() });
    site.park(&["open", "fresh", "old"].map(|id| message(id, "1", "poison: x"))).await;
    site.until_rows(3).await;
    for id in ["fresh", "old"] {
        site.desk().discard(&one(id), "done", "ada", &Trail::default()).await.unwrap();
    }
    let long_ago = SystemClock.now() - chrono::TimeDelta::days(31);
    let sql = "UPDATE parked_messages SET ended_at = $1, first_parked_at = $1 WHERE message_id = 'old'";
    site.execute(sql, [long_ago.into()]).await;
    let sql = "UPDATE parked_messages SET first_parked_at = $1 WHERE message_id = 'open'";
    site.execute(sql, [long_ago.into()]).await;
    assert_eq!(site.upkeep(config()).sweep().await.unwrap(), 1);
    assert_eq!(site.rows().await.keys().collect::<Vec<_>>(), ["fresh", "open"]);
    parker.stop().await;
}
