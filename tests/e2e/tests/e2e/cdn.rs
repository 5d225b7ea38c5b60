//! From an edit over HTTP to what readers of the shop, and of a Varnish in front of it, get to see.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::http::Http;
use testkit::varnish::{PrivateVarnish, Vcl};
use testkit::wait;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::shop::{Parts, Shop, verb};

const CHANGES: i64 = 6;
/// Far below the minute for which either may keep a page that no purge reaches, and far above the two seconds that are published: a
/// machine with other work on it is no reason to fail. How long it took is printed.
const PURGED_WITHIN: Duration = Duration::from_secs(15);

/// Takes connections for an address that is not known yet, and carries them there once it is.
async fn carry(listener: TcpListener, to: &OnceLock<SocketAddr>) {
    let mut connections = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (Ok((mut near, _)), Some(to)) = (accepted, to.get()) else { continue };
                connections.push(async move {
                    if let Ok(mut far) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
            Some(()) = futures::StreamExt::next(&mut connections) => {}
        }
    }
}

/// When somebody asked, and the price that was shown.
type Reads = Vec<(Instant, i64)>;

async fn watch(http: &Http, url: &str, done: &CancellationToken) -> Result<Reads> {
    let mut reads = Vec::new();
    while !done.is_cancelled() {
        let asked = Instant::now();
        let answer = http.get(url).await?;
        ensure!(answer.status == 200, "{}: {:?}", answer.status, answer.body);
        let price = answer.json()["price"]["minor"].as_i64().with_context(|| format!("a price: {}", answer.json()))?;
        reads.push((asked, price));
        sleep(Duration::from_millis(10)).await;
    }
    Ok(reads)
}

/// For how long after each edit was answered somebody who asked later was shown an older price.
fn oldest(edited: &[(Instant, i64)], reads: &Reads) -> Vec<Duration> {
    let of = |(answered, price): &(Instant, i64)| {
        let old = reads.iter().filter(|(_, shown)| shown < price);
        old.map(|(asked, _)| asked.saturating_duration_since(*answered)).max().unwrap_or_default()
    };
    edited.iter().map(of).collect()
}

/// Sets the price of the mug; false while the key is not known yet.
async fn put(shop: &Shop, key: &str, price: i64) -> Result<bool> {
    let product = json!({"title": "Mug", "price": {"minor": price, "currency": "EUR"}});
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let url = shop.storefront("/v1/products/MUG");
    let answer = shop.http.send("PUT".parse()?, &url, &headers, product.to_string()).await?;
    ensure!([200, 401].contains(&answer.status.as_u16()), "{}: {}", answer.status, answer.json());
    Ok(answer.status == 200)
}

async fn edit(shop: &Shop) -> Result<Vec<(Instant, i64)>> {
    let args = ["keys", "create", "--market", "main", "--name", "catalogue", "--scope", "catalogue"];
    let printed = verb(shop.folder(), &args).await?;
    let key = printed.split_whitespace().find(|word| word.starts_with("mp_")).context("a key is printed")?;
    wait::until("the key is known", || async { put(shop, key, 1_000).await.ok()?.then_some(()) }).await?;
    let mut edited = Vec::new();
    for n in 1..=CHANGES {
        sleep(Duration::from_millis(1_300)).await;
        ensure!(put(shop, key, 1_000 + n).await?, "the key is known");
        edited.push((Instant::now(), 1_000 + n));
    }
    Ok(edited)
}

pub(crate) async fn an_edit_reaches_the_readers_of_the_shop_and_of_a_varnish_before_it_by_its_purge(
    parts: Parts,
) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Varnish wants an address to ask, and the shop one to purge.
    let varnish = PrivateVarnish::start(listener.local_addr()?, Vcl::Xkey).await?;
    let settings = format!("[invalidation.cdn.edge]\nurls = [{:?}]\n", varnish.url());
    let mut shop = Shop::open_with(parts, &[("MUG", 100)], &settings).await?;
    let to = OnceLock::from(shop.storefront("").trim_start_matches("http://").parse::<SocketAddr>()?);
    let (inside, outside) = (shop.storefront("/v1/products/MUG"), format!("{}/v1/products/MUG", varnish.url()));
    let played = async {
        wait::until("Varnish shows the product", || async {
            (shop.http.get(&outside).await.ok()?.status == 200).then_some(())
        })
        .await?;
        let done = CancellationToken::new();
        let edited = async {
            let edited = edit(&shop).await;
            let seen = async {
                for url in [&inside, &outside] {
                    wait::until("the last price is shown", || async {
                        let shown = shop.http.get(url).await.ok()?.json()["price"]["minor"].as_i64()?;
                        (shown == 1_000 + CHANGES).then_some(())
                    })
                    .await?;
                }
                anyhow::Ok(())
            };
            let seen = seen.await;
            done.cancel();
            seen?;
            edited
        };
        futures::try_join!(edited, watch(&shop.http, &inside, &done), watch(&shop.http, &outside, &done))
    };
    let (edited, direct, cached) = tokio::select! {
        played = played => played?,
        () = carry(listener, &to) => unreachable!("it carries for ever"),
    };
    for (who, reads) in [("the shop", direct), ("Varnish", cached)] {
        let mut oldest = oldest(&edited, &reads);
        oldest.sort();
        eprintln!("{who} showed the old price for {oldest:?} ({parts:?})");
        ensure!(oldest.iter().all(|span| *span <= PURGED_WITHIN), "{who}: {oldest:?}\n{}", shop.logs());
    }
    // Varnish has answered most of its readers by itself.
    let answer = shop.http.get(&outside).await?;
    ensure!(answer.header("cache-status") == "varnish; hit", "{:?}", answer.headers);
    shop.stop().await
}
