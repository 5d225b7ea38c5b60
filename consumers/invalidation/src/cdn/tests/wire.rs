//! What Fastly and Cloudflare get to see, and what becomes of their answers.

use std::time::Duration;

use cache::Tag;
use serde_json::Value;
use testkit::wait::until;

use super::recorder::{Recorder, Say};
use super::{Running, tag};
use crate::cdn::{CdnConfig, CdnKind};

fn quick(kind: CdnKind, url: String) -> CdnConfig {
    CdnConfig {
        kind,
        urls: vec![url],
        site: "SITE".to_owned(),
        token: "SECRET".into(),
        requests_per_s: Some(1_000.0),
        after_ms: 10,
        again_ms: 0,
        purge_at_start: false,
        timeout_ms: 5_000,
        retry_min_ms: 20,
        retry_max_ms: 50,
        ..CdnConfig::default()
    }
}

#[tokio::test]
async fn fastly_gets_a_list_of_keys_at_most_256_a_request_softly() {
    let server = Recorder::start([]).await;
    let running = Running::start([("edge", quick(CdnKind::Fastly, server.url()))]);
    running.purged((0..300).map(tag));
    let asked = server.until_asked(2).await;
    let mut keys = Vec::new();
    for (request, expected) in asked.iter().zip([256, 44]) {
        assert_eq!(request.line, "POST /service/SITE/purge");
        assert_eq!((request.header("fastly-key"), request.header("fastly-soft-purge")), ("SECRET", "1"));
        let named: Vec<&str> = request.header("surrogate-key").split(' ').collect();
        assert_eq!(named.len(), expected);
        keys.extend(named.into_iter().map(str::to_owned));
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 300);
    assert!(keys.contains(&"product:eu:7".to_owned()));
    until("it is counted", || async {
        (running.metric("millpond_cdn_purged_tags_total{cdn=\"edge\"}")? >= 300.0).then_some(())
    })
    .await
    .unwrap();
    running.finish().await;
}

#[tokio::test]
async fn fastly_is_purged_hard_where_it_is_asked_for() {
    let server = Recorder::start([]).await;
    let config = CdnConfig { soft: false, ..quick(CdnKind::Fastly, server.url()) };
    let running = Running::start([("edge", config)]);
    running.purged([tag(1)]);
    assert_eq!(server.until_asked(1).await[0].header("fastly-soft-purge"), "");
    running.finish().await;
}

#[tokio::test]
async fn cloudflare_gets_a_hundred_tags_a_request_as_json() {
    let server = Recorder::start([]).await;
    let running = Running::start([("edge", quick(CdnKind::Cloudflare, server.url()))]);
    running.purged((0..150).map(tag));
    let asked = server.until_asked(2).await;
    let mut tags = 0;
    for request in &asked {
        assert_eq!(request.line, "POST /zones/SITE/purge_cache");
        assert_eq!(request.header("authorization"), "Bearer SECRET");
        assert_eq!(request.header("content-type"), "application/json");
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let named = body["tags"].as_array().unwrap();
        assert!(named.len() <= 100 && named[0].as_str().unwrap().starts_with("product:eu:"));
        tags += named.len();
    }
    assert_eq!(tags, 150);
    running.finish().await;
}

#[tokio::test]
async fn a_200_of_cloudflare_that_says_that_it_failed_is_tried_again() {
    let failed = Say { body: "{\"success\": false, \"errors\": [{\"code\": 1}]}", ..Say::status(200) };
    let server = Recorder::start([failed]).await;
    let running = Running::start([("edge", quick(CdnKind::Cloudflare, server.url()))]);
    running.purged([tag(1)]);
    let asked = server.until_asked(2).await;
    assert_eq!(asked[0].body, asked[1].body);
    running.finish().await;
}

#[tokio::test]
async fn a_tag_waits_once_and_is_purged_a_second_time_for_what_was_fetched_in_between() {
    let server = Recorder::start([]).await;
    let config = CdnConfig { after_ms: 100, again_ms: 300, ..quick(CdnKind::Fastly, server.url()) };
    let running = Running::start([("edge", config)]);
    for _ in 0..50 {
        running.purged([tag(1), tag(2)]);
    }
    let asked = server.until_asked(2).await;
    for request in &asked {
        assert_eq!(request.header("surrogate-key").split(' ').count(), 2, "{request:?}");
    }
    assert!(asked[1].at - asked[0].at >= Duration::from_millis(295), "{:?}", asked[1].at - asked[0].at);
    until("nothing is pending", || async {
        (running.metric("millpond_cdn_pending_tags{cdn=\"edge\"}")? < 1.0).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(server.asked().len(), 2);
    running.finish().await;
}

#[tokio::test]
async fn a_cdn_that_fails_is_asked_again_and_not_before_it_says() {
    let busy = Say { header: Some(("retry-after", "1")), ..Say::status(429) };
    let slow = Say { after: Duration::from_mins(1), ..Say::status(200) };
    let server = Recorder::start([Say::status(503), Say::status(401), busy, slow]).await;
    let config = CdnConfig { timeout_ms: 300, ..quick(CdnKind::Fastly, server.url()) };
    let running = Running::start([("edge", config)]);
    running.purged([tag(1)]);
    let asked = server.until_asked(5).await;
    assert!(asked.iter().all(|request| request.header("surrogate-key") == "product:eu:1"));
    assert!(asked[3].at - asked[2].at >= Duration::from_millis(995), "{:?}", asked[3].at - asked[2].at);
    let count = |outcome| running.metric(&format!("millpond_cdn_requests_total{{cdn=\"edge\",outcome=\"{outcome}\"}}"));
    until("it purges again", || async { (count("done") == Some(1.0)).then_some(()) }).await.unwrap();
    assert_eq!((count("later"), count("refused")), (Some(3.0), Some(1.0)));
    assert_eq!(running.metric("millpond_cdn_available{cdn=\"edge\"}"), Some(1.0));
    running.finish().await;
}

#[tokio::test]
async fn a_cdn_that_is_down_delays_no_other_and_forgets_no_change_when_they_are_too_many() {
    let (good, bad) = (Recorder::start([]).await, Recorder::start((0..4).map(|_| Say::status(500))).await);
    let config = |server: &Recorder| CdnConfig { max_pending_tags: 20, ..quick(CdnKind::Fastly, server.url()) };
    let down = CdnConfig { retry_min_ms: 300, retry_max_ms: 300, ..config(&bad) };
    let running = Running::start([("good", config(&good)), ("bad", down)]);
    running.purged([tag(0)]);
    bad.until_asked(1).await;
    for n in 1..=100 {
        running.purged([tag(n)]);
        // The good one has to keep up with what is pending.
        if n % 10 == 0 {
            until("the good one is done", || async {
                (running.metric("millpond_cdn_pending_tags{cdn=\"good\"}")? < 1.0).then_some(())
            })
            .await
            .unwrap();
        }
    }
    let named: usize = good.asked().iter().map(|request| request.header("surrogate-key").split(' ').count()).sum();
    assert_eq!(named, 101);
    let asked = bad.until_asked(5).await;
    assert_eq!(asked[4].header("surrogate-key"), Tag::everything().as_str());
    running.finish().await;
}

#[tokio::test]
async fn tags_that_a_cdn_can_not_name_are_purged_with_all_pages() {
    let server = Recorder::start([Say::status(400)]).await;
    let running = Running::start([("edge", quick(CdnKind::Fastly, server.url()))]);
    running.purged([Tag::collection(&"eu".parse().unwrap(), "two words")]);
    let asked = server.until_asked(2).await;
    assert_eq!(asked[0].header("surrogate-key"), "collection:eu:two%20words");
    assert_eq!(asked[1].header("surrogate-key"), "millpond");
    running.finish().await;
}

#[tokio::test]
async fn requests_keep_to_the_rate_and_what_waits_is_one_batch() {
    let server = Recorder::start([]).await;
    let config = CdnConfig { requests_per_s: Some(4.0), burst: Some(1), ..quick(CdnKind::Fastly, server.url()) };
    let running = Running::start([("edge", config)]);
    running.purged([tag(0)]);
    server.until_asked(1).await;
    for n in 1..=30 {
        running.purged([tag(n)]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = server.until_asked(3).await;
    for pair in asked.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(200), "{:?}", pair[1].at - pair[0].at);
    }
    until("all are purged", || async {
        (running.metric("millpond_cdn_purged_tags_total{cdn=\"edge\"}")? >= 31.0).then_some(())
    })
    .await
    .unwrap();
    assert!(server.asked().len() <= 6, "{}", server.asked().len());
    running.finish().await;
}

#[tokio::test]
async fn all_pages_are_purged_at_the_start_and_what_is_left_at_the_end() {
    let server = Recorder::start([]).await;
    let config = CdnConfig { purge_at_start: true, again_ms: 60_000, ..quick(CdnKind::Fastly, server.url()) };
    let running = Running::start([("edge", CdnConfig { after_ms: 60_000, ..config })]);
    assert_eq!(server.until_asked(1).await[0].header("surrogate-key"), "millpond");
    running.purged([tag(1)]);
    running.finish().await;
    let last: Vec<String> = server.asked()[1..]
        .iter()
        .flat_map(|asked| asked.header("surrogate-key").split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(last.contains(&"product:eu:1".to_owned()) && last.contains(&"millpond".to_owned()), "{last:?}");
}

#[test]
fn a_cdn_that_can_not_work_is_refused_by_the_name_of_its_setting() {
    let refusal = |kind, change: fn(&mut CdnConfig)| {
        let mut config = quick(kind, "http://127.0.0.1:1".to_owned());
        change(&mut config);
        config.check("edge").unwrap_err().to_string()
    };
    assert!(refusal(CdnKind::Varnish, |config| config.urls.clear()).contains("invalidation.cdn.edge: urls"));
    assert!(refusal(CdnKind::Fastly, |config| config.site.clear()).contains("site"));
    assert!(refusal(CdnKind::Cloudflare, |config| config.token = "".into()).contains("token"));
    assert!(refusal(CdnKind::Varnish, |config| config.requests_per_s = Some(0.0)).contains("requests_per_s"));
    assert!(refusal(CdnKind::Varnish, |config| config.burst = Some(0)).contains("burst"));
}

#[tokio::test]
async fn a_token_is_never_shown() {
    let config = quick(CdnKind::Fastly, "http://127.0.0.1:1".to_owned());
    assert!(!format!("{config:?}").contains("SECRET"));
    let request = crate::cdn::cdn(&config, config.urls[0].clone()).request(&[tag(1)]).unwrap();
    assert!(!format!("{request:?}").contains("SECRET"));
}
