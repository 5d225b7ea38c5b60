//! One suite over both kinds, and what only Redis can do: be away.

use std::time::{Duration, Instant};

use chrono::DateTime;
use events::{OrderState, Rejection};
use model::{Fingerprint, OrderId, RegionNumber};
use testkit::redis::{PrivateRedis, key_prefix};
use testkit::wait::until;

use crate::{Cache, Config, OpenError, OrderStatus, Purge, Tag};

async fn both() -> [Cache; 2] {
    let redis = Config { url: testkit::redis::url().into(), key_prefix: key_prefix(), ..patient() };
    [Cache::open(&Config::default()).await.unwrap(), Cache::open(&redis).await.unwrap()]
}

/// A busy machine is not what these tests are about.
fn patient() -> Config {
    Config { command_timeout_ms: 5_000, connect_timeout_ms: 5_000, ..Config::default() }
}

fn order(key: &str) -> OrderId {
    OrderId::derive(RegionNumber(1), &"eu".parse().unwrap(), &key.parse().unwrap())
}

fn status(version: i64, state: OrderState) -> OrderStatus {
    OrderStatus {
        order_id: order("k"),
        version,
        fingerprint: Fingerprint::of([b"body".as_slice()]),
        accepted_at: DateTime::UNIX_EPOCH,
        state,
    }
}

fn tag(sku: &str) -> Tag {
    Tag::product(&"eu".parse().unwrap(), &sku.parse().unwrap())
}

fn purge(version: i64) -> Purge {
    purge_for(&[("product:eu:MUG", version)])
}

fn purge_for(versions: &[(&str, i64)]) -> Purge {
    let versions = versions.iter().map(|(aggregate, version)| ((*aggregate).to_owned(), *version)).collect();
    Purge { tag: tag("MUG"), versions }
}

#[tokio::test]
async fn a_redis_that_is_full_and_refuses_is_told_from_one_that_answers() {
    let redis = PrivateRedis::start().await.unwrap();
    let cache = Cache::open(&Config { url: redis.url().into(), ..patient() }).await.unwrap();
    let configure = async |name: &str, value: &str| {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec_async(&mut connection).await.unwrap();
    };
    let warned = cache.examine().await.unwrap();
    assert!(warned.iter().any(|warning| warning.contains("maxmemory is 0")), "as it is installed: {warned:?}");
    configure("maxmemory", "1").await;
    let refused = cache.examine().await.unwrap_err().to_string();
    assert!(refused.contains("OOM"), "{refused}");
    configure("maxmemory", "100mb").await;
    configure("maxmemory-policy", "allkeys-lru").await;
    assert!(cache.examine().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_late_status_never_hides_a_newer_one() {
    let rejected = OrderState::Rejected { reason: Rejection::IdempotencyConflict };
    for cache in both().await {
        assert_eq!(cache.get_status(order("k")).await, None);
        let newest = status(3, rejected.clone());
        cache.put_statuses(&[status(1, OrderState::Placed)]).await;
        cache.put_statuses(std::slice::from_ref(&newest)).await;
        cache.put_statuses(&[status(2, OrderState::Paid)]).await;
        cache.put_statuses(&[status(3, OrderState::Placed)]).await;
        assert_eq!(cache.get_status(order("k")).await, Some(newest), "{cache:?}");
        assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
    }
}

#[tokio::test]
async fn of_many_concurrent_writers_the_highest_version_stays() {
    for cache in both().await {
        let versions: Vec<OrderStatus> = (1..=50).map(|n| status((n * 37) % 51, OrderState::Placed)).collect();
        futures::future::join_all(versions.iter().map(|status| cache.put_statuses(std::slice::from_ref(status)))).await;
        assert_eq!(cache.get_status(order("k")).await.unwrap().version, 50, "{cache:?}");
    }
}

#[tokio::test]
async fn a_generation_stays_until_its_tag_is_purged_and_never_comes_back() {
    for cache in both().await {
        let first = cache.generation(&tag("MUG")).await;
        assert_eq!(cache.generation(&tag("MUG")).await, first);
        let neighbour = cache.generation(&tag("CUP")).await;
        cache.bump(&[tag("MUG")]).await.unwrap();
        let second = cache.generation(&tag("MUG")).await;
        assert_ne!(second, first);
        assert_eq!(cache.generation(&tag("CUP")).await, neighbour);
    }
}

#[tokio::test]
async fn an_older_or_repeated_event_purges_nothing() {
    for cache in both().await {
        assert_eq!(cache.purge(&[purge(2)]).await, Ok(vec![true]));
        let current = cache.generation(&tag("MUG")).await;
        for old in [1, 2] {
            assert_eq!(cache.purge(&[purge(old)]).await, Ok(vec![false]));
        }
        assert_eq!(cache.generation(&tag("MUG")).await, current, "{cache:?}");
        assert_eq!(cache.purge(&[purge(3)]).await, Ok(vec![true]));
        assert_ne!(cache.generation(&tag("MUG")).await, current);
    }
}

#[tokio::test]
async fn a_tag_is_purged_once_for_all_changes_of_a_call_if_one_of_them_is_newer() {
    for cache in both().await {
        let many: Vec<(String, i64)> = (0..2_500).map(|n| (format!("product:eu:{n}"), 1)).collect();
        let many: Vec<(&str, i64)> = many.iter().map(|(aggregate, version)| (aggregate.as_str(), *version)).collect();
        assert_eq!(cache.purge(&[purge_for(&many)]).await, Ok(vec![true]));
        let current = cache.generation(&tag("MUG")).await;
        assert_eq!(cache.purge(&[purge_for(&many)]).await, Ok(vec![false]), "{cache:?}");
        assert_eq!(cache.generation(&tag("MUG")).await, current, "{cache:?}");
        let one_newer = [&many[..2_400], &[("product:eu:7", 2)]].concat();
        assert_eq!(cache.purge(&[purge_for(&one_newer)]).await, Ok(vec![true]), "{cache:?}");
        assert_ne!(cache.generation(&tag("MUG")).await, current, "{cache:?}");
    }
}

#[tokio::test]
async fn a_tag_that_redis_lost_counts_as_just_purged() {
    let mut server = PrivateRedis::start().await.unwrap();
    let cache = Cache::open(&Config { url: server.url().into(), ..patient() }).await.unwrap();
    let before = cache.generation(&tag("MUG")).await;
    server.kill().await.unwrap();
    server.bring_back().await.unwrap();
    until("the new server is connected", || async {
        let first = cache.generation(&tag("MUG")).await;
        (cache.is_available() && cache.generation(&tag("MUG")).await == first).then_some(())
    })
    .await
    .unwrap();
    assert_ne!(cache.generation(&tag("MUG")).await, before);
}

#[tokio::test]
async fn without_redis_a_read_is_a_miss_a_purge_is_an_error_and_it_comes_back_by_itself() {
    let mut server = PrivateRedis::start().await.unwrap();
    let cache = Cache::open(&Config { url: server.url().into(), ..patient() }).await.unwrap();
    cache.put_statuses(&[status(1, OrderState::Confirmed)]).await;
    assert!(cache.get_status(order("k")).await.is_some());

    server.kill().await.unwrap();
    assert_eq!(cache.get_status(order("k")).await, None);
    assert!(cache.purge(&[purge(1)]).await.is_err());
    assert_ne!(cache.generation(&tag("MUG")).await, cache.generation(&tag("MUG")).await);
    assert!(!cache.is_available());
    assert!(cache.stats().errors >= 4);

    server.bring_back().await.unwrap();
    until("Redis is connected", || async { cache.is_available().then_some(()) }).await.unwrap();
    assert_eq!(cache.purge(&[purge(1)]).await, Ok(vec![true]));
}

/// A server that takes connections and then says nothing, which is worse than one that is gone.
#[tokio::test]
async fn a_redis_that_hangs_costs_a_caller_its_bound_and_then_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let config = Config { url: url.into(), command_timeout_ms: 50, connect_timeout_ms: 100, ..Config::default() };
    let started = Instant::now();
    let cache = Cache::open(&config).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "opening waited {:?}", started.elapsed());
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(cache.get_status(order("k")).await, None);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "100 misses took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_redis_that_freezes_opens_the_breaker_after_a_few_bounds() {
    let server = PrivateRedis::start().await.unwrap();
    let config = Config { url: server.url().into(), connect_timeout_ms: 5_000, ..Config::default() };
    let cache = Cache::open(&config).await.unwrap();
    until("Redis is connected", || async { cache.is_available().then_some(()) }).await.unwrap();
    // CLIENT PAUSE holds every command of every client, as a server that swaps does.
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("CLIENT").arg("PAUSE").arg(60_000).query_async::<()>(&mut connection).await.unwrap();
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(cache.get_status(order("k")).await, None);
    }
    assert!(!cache.is_available());
    assert!(started.elapsed() < Duration::from_secs(1), "50 misses took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused() {
    let config = Config { url: "memcached://host".into(), ..Config::default() };
    assert!(matches!(Cache::open(&config).await, Err(OpenError::Url)));
}

#[test]
fn a_tag_in_a_header_is_one_word_that_any_header_may_hold() {
    let region = "eu".parse().unwrap();
    assert_eq!(tag("A/1.B+C").in_header(), "product:eu:A/1.B+C");
    assert_eq!(
        Tag::collection(&region, "two words, größe").in_header(),
        "collection:eu:two%20words%2C%20gr%C3%B6%C3%9Fe"
    );
}
