//! Parts that are away, on servers in a process for each role: what each absence costs, and what it does not.

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use testkit::postgres::FreshDatabase;
use testkit::rabbit::{FreshVhost, PrivateRabbit};
use testkit::redis::PrivateRedis;
use testkit::wait;

use crate::shop::{Servers, Shop};

const ORDERS: u64 = 200;

/// Posts the orders of these keys, some at a time; the statuses of the answers.
async fn post(shop: &Shop, keys: &[String]) -> Result<Vec<u16>> {
    let mut statuses = Vec::with_capacity(keys.len());
    for some in keys.chunks(50) {
        for answer in join_all(some.iter().map(|key| shop.post_order(key, "MUG", 1))).await {
            statuses.push(answer?.status.as_u16());
        }
    }
    Ok(statuses)
}

fn keys(name: &str) -> Vec<String> {
    (0..ORDERS).map(|n| format!("{name}-{n}")).collect()
}

/// What a process says at `/metrics`: the sum over the series of `name` that have all of `labels`.
async fn metric(shop: &Shop, role: &'static str, name: &str, labels: &[&str]) -> Result<f64> {
    let told = shop.http.get(&shop.at(role, "/metrics")).await?;
    let text = String::from_utf8(told.body.to_vec())?;
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('{'))?;
        labels.iter().all(|label| rest.contains(label)).then(|| value.parse::<f64>().ok())?
    });
    Ok(values.sum())
}

/// Over both processes of checkout.
async fn at_checkout(shop: &Shop, name: &str, labels: &[&str]) -> Result<f64> {
    Ok(metric(shop, "checkout", name, labels).await? + metric(shop, "checkout-2", name, labels).await?)
}

/// All of what was answered 202 is confirmed, once, and nothing had to be tried for it again.
async fn assert_all_confirmed(shop: &Shop, orders: u64) -> Result<()> {
    shop.until_decided(orders).await?;
    assert_eq!(shop.orders_in("confirmed").await?, orders);
    assert_eq!(shop.stock("MUG").await?, (10_000, i64::try_from(orders)?));
    assert_eq!(shop.movements("MUG").await?, orders);
    for outcome in ["parked", "retried"] {
        let label = format!("outcome=\"{outcome}\"");
        let count = at_checkout(shop, "millpond_worker_settled_messages_total", &[&label]).await?;
        ensure!(count == 0.0, "{count} orders were {outcome}\n{}", shop.logs());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_orders_are_accepted_and_confirmed_as_before() -> Result<()> {
    let mut redis = PrivateRedis::start().await?;
    let servers = Servers { redis: redis.url(), ..Servers::fresh().await? };
    let mut shop = Shop::open_on(servers, &[("MUG", 10_000)]).await?;
    ensure!(post(&shop, &keys("with")).await?.iter().all(|status| *status == 202));
    redis.kill().await?;
    let without = keys("without");
    ensure!(post(&shop, &without).await?.iter().all(|status| *status == 202));
    let status = shop.accepted_order(&without[0], "MUG", 1).await?;
    assert_eq!(shop.outcome(&status).await?["state"], "confirmed", "the database knows, too");
    assert_all_confirmed(&shop, 2 * ORDERS).await?;
    redis.bring_back().await?;
    shop.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rabbitmq_every_order_is_refused_quickly_and_none_is_accepted_falsely() -> Result<()> {
    let mut rabbit = PrivateRabbit::start().await?;
    let servers = Servers { broker: rabbit.vhost().await?, ..Servers::fresh().await? };
    let mut shop = Shop::open_on(servers, &[("MUG", 10_000)]).await?;
    ensure!(post(&shop, &keys("before")).await?.iter().all(|status| *status == 202));
    rabbit.kill().await?;
    let refused = keys("refused");
    let statuses = post(&shop, &refused).await?;
    ensure!(statuses.iter().all(|status| *status == 503), "{statuses:?}\n{}", shop.logs());
    // By the ingress's own clock, and far above what it takes: the exact figure is `infra/bench.sh --only l`.
    let route = ["http_route=\"/v1/orders\"", "http_response_status_code=\"503\""];
    let duration = "millpond_http_server_request_duration_seconds";
    let all = metric(&shop, "ingress", &format!("{duration}_count"), &route).await?;
    let quick = metric(&shop, "ingress", &format!("{duration}_bucket"), &[route[0], route[1], "le=\"1.0\""]).await?;
    ensure!(all >= 200.0 && quick >= all, "{quick} of {all} refusals within a second");

    rabbit.bring_back().await?;
    // A refusal is safe to repeat: with the same keys each is one order, whatever became of the first try.
    wait::until("orders are taken again", || async {
        shop.post_order(&refused[0], "MUG", 1).await.ok().filter(|answer| answer.status == 202).map(drop)
    })
    .await
    .with_context(|| shop.logs())?;
    ensure!(post(&shop, &refused).await?.iter().all(|status| *status == 202));
    assert_all_confirmed(&shop, 2 * ORDERS).await?;
    shop.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_every_order_is_accepted_and_nothing_parked_and_all_are_confirmed_after() -> Result<()> {
    let mut shop = Shop::open_on(Servers::fresh().await?, &[("MUG", 10_000)]).await?;
    ensure!(post(&shop, &keys("before")).await?.iter().all(|status| *status == 202));
    shop.until_decided(ORDERS).await?;
    database(&shop)?.shut().await?;
    ensure!(post(&shop, &keys("during")).await?.iter().all(|status| *status == 202), "{}", shop.logs());
    wait::until("checkout has met the outage", || async {
        (at_checkout(&shop, "millpond_breaker_open", &[]).await.ok()? > 0.0).then_some(())
    })
    .await
    .with_context(|| shop.logs())?;
    ensure!(post(&shop, &keys("later")).await?.iter().all(|status| *status == 202), "{}", shop.logs());
    let ready = shop.http.get(&shop.ingress("/readyz")).await?;
    ensure!(ready.status == 200, "the ingress needs no database: {}", ready.json());
    database(&shop)?.reopen().await?;
    assert_all_confirmed(&shop, 3 * ORDERS).await?;
    shop.stop().await
}

fn database(shop: &Shop) -> Result<&FreshDatabase> {
    Ok(&shop.servers.as_ref().context("a shop on servers")?.database)
}

impl Servers {
    /// A corner of the shared ones.
    pub(crate) async fn fresh() -> Result<Self> {
        let (broker, database) = (FreshVhost::create().await?, FreshDatabase::create().await?);
        Ok(Self { broker, database, redis: testkit::redis::url() })
    }
}
