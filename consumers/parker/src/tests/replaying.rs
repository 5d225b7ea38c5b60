//! Back into the home queue, at a rate, whoever dies.

use std::collections::BTreeSet;
use std::time::Duration;

use broker::layout;
use model::{Message, headers};
use sea_orm::EntityTrait as _;
use store::entity::parked_replay;

use super::site::{Running, Site, Trail, checkout, config, message, on_both, one};
use crate::{Config, Selection};

on_both!(
    a_replay_goes_to_the_home_queue_alone_with_its_attempts_forgotten_and_its_number,
    a_replay_killed_half_way_is_finished_by_another,
    a_message_parked_again_after_its_replay_is_open_again,
    a_copy_of_an_earlier_replay_does_not_reopen_what_a_later_one_answers_for,
    a_group_is_replayed_at_its_rate_by_two_parkers_together,
    a_replay_that_is_stopped_leaves_the_rest_open_and_can_be_asked_for_again,
    a_message_whose_home_nobody_knows_is_open_again_with_the_reason,
);

async fn parked(site: &Site, messages: &[Message]) -> Running {
    let parker = site.parker(config());
    site.park(messages).await;
    site.until_rows(messages.len()).await;
    parker
}

async fn a_replay_goes_to_the_home_queue_alone_with_its_attempts_forgotten_and_its_number(site: Site) {
    let original = message("a", "{\"n\": 1}", "poison: x");
    let parker = parked(&site, std::slice::from_ref(&original)).await;
    assert_eq!(site.desk().replay(&one("a"), None, "ada", &Trail::default()).await.unwrap(), 1);
    let row = site.row_once("a", |row| row.state == "replayed").await;
    assert!(row.replayed_at.is_some() && row.claimed_until.is_none());
    let (again, _) = site.take(&checkout(), 1).await.remove(0);
    let mut expected = original;
    for gone in [headers::ATTEMPT, headers::REASON, headers::ORIGIN_QUEUE] {
        expected.headers.remove(gone);
    }
    expected.headers.insert(headers::REPLAYED.to_owned(), "1".to_owned());
    assert_eq!(again, expected);
    for other in [layout::analytics_orders_queue(), layout::invalidation_queue(), layout::analytics_pages_queue()] {
        assert_eq!(site.ready(&other).await, 0, "{other}");
    }
    parker.stop().await;
}

/// Between the claim and the publish, and between the broker's confirm and the mark.
async fn a_replay_killed_half_way_is_finished_by_another(site: Site) {
    let all = [message("a", "1", "poison: x"), message("b", "2", "poison: x")];
    parked(&site, &all).await.kill().await;
    site.desk()
        .replay(&Selection { all: true, ..Selection::default() }, Some(1_000.0), "ada", &Trail::default())
        .await
        .unwrap();
    let dies = site.replayer(Config { replay_batch: 1, ..config() });
    let before_publish = dies.claim().await.unwrap();
    let before_mark = testkit::wait::until("the second is claimed", || async {
        Some(dies.claim().await.unwrap()).filter(|rows| !rows.is_empty())
    })
    .await
    .unwrap();
    let ended = dies.publish(&before_mark).await;
    assert_eq!((before_publish.len(), before_mark.len(), ended.len()), (1, 1, 1));
    drop(ended);
    assert!(site.rows().await.values().all(|row| row.state == "replaying" && row.claimed_until.is_some()));

    let parker = site.parker(config());
    let [first, second] = [&before_publish[0].message_id, &before_mark[0].message_id];
    site.row_once(first, |row| row.state == "replayed").await;
    site.row_once(second, |row| row.state == "replayed").await;
    let taken = site.take(&checkout(), 3).await;
    let mut ids: Vec<String> = taken.iter().map(|(message, _)| message.id.to_string()).collect();
    ids.sort();
    let mut expected = vec![first.clone(), second.clone(), second.clone()];
    expected.sort();
    assert_eq!(ids, expected, "what was confirmed before the death comes twice, nothing is lost");
    parker.stop().await;
}

async fn a_message_parked_again_after_its_replay_is_open_again(site: Site) {
    let parker = parked(&site, &[message("a", "1", "poison: x")]).await;
    for round in 1..=2 {
        site.desk().replay(&one("a"), None, "ada", &Trail::default()).await.unwrap();
        let (mut again, _) = site.take(&checkout(), 1).await.remove(0);
        assert_eq!(again.replay(), round);
        again.headers.insert(headers::REASON.to_owned(), format!("poison: still, {round}"));
        site.park(&[again]).await;
        let times = i32::try_from(round).unwrap() + 1;
        let row = site.row_once("a", |row| row.state == "open" && row.times == times).await;
        assert_eq!(row.reason, format!("poison: still, {round}"));
    }
    parker.stop().await;
}

async fn a_copy_of_an_earlier_replay_does_not_reopen_what_a_later_one_answers_for(site: Site) {
    let original = message("a", "1", "poison: x");
    let parker = parked(&site, std::slice::from_ref(&original)).await;
    for _ in 0..2 {
        site.desk().replay(&one("a"), None, "ada", &Trail::default()).await.unwrap();
        site.row_once("a", |row| row.state == "replayed").await;
    }
    let copies: Vec<Message> = site.take(&checkout(), 2).await.into_iter().map(|(message, _)| message).collect();
    assert_eq!(copies.iter().map(Message::replay).collect::<Vec<_>>(), [1, 2]);
    // The parked message that was never acked, and the first replay.
    site.park(&[original, copies[0].clone()]).await;
    site.row_once("a", |row| row.state == "replayed" && row.times == 3).await;
    site.park(&[copies[1].clone()]).await;
    site.row_once("a", |row| row.state == "open" && row.times == 4).await;
    parker.stop().await;
}

async fn a_group_is_replayed_at_its_rate_by_two_parkers_together(site: Site) {
    let group: Vec<Message> = (0..30).map(|n| message(&format!("m-{n}"), "1", &format!("poison: total {n}"))).collect();
    let parkers = [parked(&site, &group).await, site.parker(config())];
    site.park(&[message("other", "1", "poison: something else")]).await;
    site.row_once("other", |_| true).await;
    let begin = tokio::time::Instant::now();
    let selection = Selection {
        queue: Some(checkout().to_string()),
        kind: Some("order.placed".to_owned()),
        reason: Some("poison: total #".to_owned()),
        ..Selection::default()
    };
    let asked = site.desk().replay(&selection, Some(20.0), "ada", &Trail::default()).await.unwrap();
    assert_eq!(asked, 30);
    let taken = site.take(&checkout(), 30).await;
    // The n-th may come n - 1 paces after the first, and never earlier. The clocks of this machine and its database's agree.
    for (n, (_, at)) in (0..).zip(&taken) {
        let least = Duration::from_millis(50) * n;
        let came = at.duration_since(begin);
        assert!(came + Duration::from_millis(20) >= least, "message {n} came after {came:?}, not {least:?}");
    }
    let ids: BTreeSet<String> = taken.iter().map(|(message, _)| message.id.to_string()).collect();
    assert_eq!(ids, group.iter().map(|message| message.id.to_string()).collect(), "each once");
    assert_eq!(site.rows().await["other"].state, "open");
    testkit::wait::until("the replay is over", || async { (replays(&site).await == 0).then_some(()) }).await.unwrap();
    for parker in parkers {
        parker.stop().await;
    }
    assert_eq!(site.ready(&checkout()).await, 0);
}

/// Replays under way.
async fn replays(site: &Site) -> usize {
    parked_replay::Entity::find().all(site.database().read()).await.unwrap().len()
}

async fn a_replay_that_is_stopped_leaves_the_rest_open_and_can_be_asked_for_again(site: Site) {
    let messages = ["a", "b", "c", "d"].map(|id| message(id, "1", "poison: x"));
    let parker = parked(&site, &messages).await;
    let (desk, trail) = (site.desk(), Trail::default());
    let all = Selection { all: true, ..Selection::default() };
    // The first goes at once, the next a quarter of an hour later.
    assert_eq!(desk.replay(&all, Some(0.001), "ada", &trail).await.unwrap(), 4);
    let (first, _) = site.take(&checkout(), 1).await.remove(0);
    let first = first.id.to_string();
    site.row_once(&first, |row| row.state == "replayed").await;
    let rest: Vec<&str> = ["a", "b", "c", "d"].into_iter().filter(|id| *id != first).collect();

    assert_eq!(desk.stop(&one(&first), "ada", &trail).await.unwrap(), 0, "it has gone");
    assert_eq!(desk.stop(&one(rest[0]), "ada", &trail).await.unwrap(), 1);
    assert_eq!(replays(&site).await, 1, "two are to be replayed yet");
    assert_eq!(desk.stop(&all, "bob", &trail).await.unwrap(), 2);
    assert_eq!(replays(&site).await, 0);
    let rows = site.rows().await;
    for id in &rest {
        let row = &rows[*id];
        assert_eq!((row.state.as_str(), row.replay_id, row.claimed_until), ("open", None, None), "{id}");
    }
    let deeds: Vec<_> = trail.deeds.lock().unwrap().iter().map(|deed| (deed.action, deed.messages)).collect();
    assert_eq!(deeds, [("parked.replay", 4), ("parked.stop", 1), ("parked.stop", 2)]);

    assert_eq!(desk.replay(&all, Some(1_000.0), "ada", &trail).await.unwrap(), 3);
    let again: BTreeSet<String> =
        site.take(&checkout(), 3).await.into_iter().map(|(message, _)| message.id.to_string()).collect();
    assert_eq!(again, rest.iter().map(|id| (*id).to_owned()).collect());
    parker.stop().await;
}

async fn a_message_whose_home_nobody_knows_is_open_again_with_the_reason(site: Site) {
    let mut lost = message("lost", "1", "");
    lost.kind = "weather.changed".to_owned();
    lost.headers.remove(headers::ORIGIN_QUEUE);
    let unrouted = broker::QueueName::unrouted();
    let publish = broker::Publish::to_queue(&unrouted, lost);
    site.broker.publish(vec![publish]).await.remove(0).unwrap();
    let parker = site.parker(config());
    site.row_once("lost", |row| row.state == "open").await;
    let selection = Selection { queue: Some(unrouted.to_string()), ..Selection::default() };
    site.desk().replay(&selection, None, "ada", &Trail::default()).await.unwrap();
    let row = site.row_once("lost", |row| row.state == "open" && row.note.is_some()).await;
    assert!(row.note.as_deref().unwrap_or_default().contains("no one queue"), "{:?}", row.note);
    parker.stop().await;
}
