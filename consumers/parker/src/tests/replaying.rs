//! Back into the home queue, at a rate, whoever dies.

use std::collections::BTreeSet;
use std::time::Duration;

use broker::layout;
use model::{Message, headers};

use super::site::{Running, Site, Trail, checkout, config, message, on_both, one};
use crate::{Config, Selection};

on_both!(
    a_replay_goes_to_the_home_queue_alone_with_its_attempts_forgotten_and_its_number,
    a_replay_killed_half_way_is_finished_by_another,
    a_message_parked_again_after_its_replay_is_open_again,
    a_copy_of_an_earlier_replay_does_not_reopen_what_a_later_one_answers_for,
    a_group_is_replayed_at_its_rate_by_two_parkers_together,
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
    let none_is_under_way = || async {
        use sea_orm::EntityTrait as _;
        let replays = store::entity::parked_replay::Entity::find().all(site.database().read()).await.unwrap();
        replays.is_empty().then_some(())
    };
    testkit::wait::until("the replay is over", none_is_under_way).await.unwrap();
    for parker in parkers {
        parker.stop().await;
    }
    assert_eq!(site.ready(&checkout()).await, 0);
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
