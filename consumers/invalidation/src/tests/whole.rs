//! From a change to what readers of three processes, and of a Varnish before them, get to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use broker::Broker;
use broker_embedded::Embedded;
use cache::{Cache, Encodings, Freshness, PageKey, Pages, PagesConfig, Rendered, Served, Tag};
use faulty::Notes;
use futures::FutureExt as _;
use futures::future::join_all;
use model::SystemClock;
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use testkit::http::Http;
use testkit::varnish::{PrivateVarnish, Vcl};
use testkit::wait::until;
use tokio::time::{Instant, sleep};
use worker::Pauses;

use super::{mug, patient, product, publish, region};
use crate::{CdnConfig, Config, Deps, Hearing, Refresh, hear, run};

const CHANGES: u32 = 8;

/// A process that serves the one page, from a database that holds one number.
#[derive(Clone)]
struct Replica {
    pages: Arc<Pages>,
    number: Arc<AtomicU32>,
}

impl Replica {
    async fn read(&self) -> Served {
        let tag = Tag::product(&region(), &mug());
        let number = Arc::clone(&self.number);
        let tags = vec![tag.clone()];
        let render = move || async move {
            // A render takes its time; what it shows was read at its begin.
            let number = number.load(Ordering::SeqCst);
            sleep(Duration::from_millis(30)).await;
            Ok::<_, std::io::Error>(Rendered {
                status: http::StatusCode::OK,
                content_type: http::HeaderValue::from_static("text/plain"),
                headers: Vec::new(),
                body: number.to_string().into(),
                tags,
            })
        };
        self.pages.get_or_render(&PageKey::new("page:eu:/p/MUG"), &[tag], Encodings::default(), render).await.unwrap()
    }

    fn hearing(&self, broker: Arc<dyn Broker>) -> Hearing {
        let replica = self.clone();
        let refresh: Refresh = Arc::new(move |_| {
            let replica = replica.clone();
            async move {
                replica.read().await;
            }
            .boxed()
        });
        Hearing { broker, pages: Arc::clone(&self.pages), rerender: 10, refresh, metrics: Metrics::new() }
    }
}

fn number(body: &[u8]) -> u32 {
    std::str::from_utf8(body).unwrap().parse().unwrap()
}

/// What Varnish asks: one replica after the other.
#[derive(Clone)]
struct Front {
    replicas: Arc<Vec<Replica>>,
    next: Arc<AtomicUsize>,
}

async fn answer(State(front): State<Front>) -> Response {
    let turn = front.next.fetch_add(1, Ordering::Relaxed);
    let served = front.replicas[turn % front.replicas.len()].read().await;
    // What is not known to be current is not to be kept by anybody.
    let fresh = matches!(served.freshness(), Freshness::Fresh | Freshness::Awaited);
    let control = if fresh { "public, s-maxage=60, stale-while-revalidate=30" } else { "public, s-maxage=0" };
    let tags: Vec<&str> = served.tags().iter().map(Tag::as_str).collect();
    Response::builder()
        .header("cache-control", control)
        .header("surrogate-key", tags.join(" "))
        .header("etag", served.etag())
        .body(Body::from(served.body().clone()))
        .unwrap()
}

/// When each number was committed, and what readers saw when.
struct Seen {
    committed: Vec<Instant>,
    reads: Vec<(Instant, u32)>,
}

impl Seen {
    /// For how long after each change somebody who asked later was shown an older number.
    fn oldest(&self) -> Vec<Duration> {
        let old = |n: usize| {
            let late = self.reads.iter().filter(|(_, number)| (*number as usize) < n);
            late.map(|(asked, _)| asked.saturating_duration_since(self.committed[n])).max().unwrap_or_default()
        };
        (1..self.committed.len()).map(old).collect()
    }
}

async fn watch<F: Future<Output = u32>>(end: Instant, read: impl Fn() -> F) -> Vec<(Instant, u32)> {
    let mut reads = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        reads.push((asked, read().await));
        sleep(Duration::from_millis(5)).await;
    }
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn two_seconds_after_a_change_nobody_is_shown_what_was_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Embedded::open(folder.path().join("queue"), broker_embedded::Config::default()).await.unwrap();
    let config = patient(testkit::redis::url());
    let (shared, tasks) = (Arc::new(AtomicU32::new(0)), Tasks::new());
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let cache = Arc::new(Cache::open(&config).await.unwrap());
        let replica = Replica { pages: Pages::new(cache, &PagesConfig::default()), number: Arc::clone(&shared) };
        drop(tasks.spawn("hear", hear(replica.hearing(broker.clone()))));
        replicas.push(replica);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = Front { replicas: Arc::new(replicas.clone()), next: Arc::default() };
    drop(
        Tasks::new().spawn("front", async move {
            axum::serve(listener, Router::new().fallback(answer).with_state(front)).await
        }),
    );
    let varnish = PrivateVarnish::start(address, Vcl::Xkey).await.unwrap();

    let cdn = CdnConfig { urls: vec![varnish.url()], ..CdnConfig::default() };
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    let readiness = Readiness::new(shutdown.clone());
    let deps = Deps {
        config: Config { cdn: [("edge".to_owned(), cdn)].into(), ..Config::default() },
        orders: broker.clone(),
        cache: Arc::new(Cache::open(&config).await.unwrap()),
        clock: Arc::new(SystemClock),
        pauses: Pauses::none(),
        witness: Arc::new(Notes::default()),
        readiness: readiness.clone(),
        metrics: metrics.clone(),
    };
    let role = tasks.spawn("invalidation", run(deps, shutdown.clone()));
    until("the role is ready", || async { readiness.report().ready.then_some(()) }).await.unwrap();

    let begin = Instant::now();
    let end = begin + Duration::from_millis(u64::from(CHANGES) * 900 + 3_000);
    let committing = async {
        let mut committed = vec![begin];
        for n in 1..=CHANGES {
            // One quick pair: the second is purged a second after the first.
            sleep(Duration::from_millis(if n == 3 { 100 } else { 900 })).await;
            shared.store(n, Ordering::SeqCst);
            committed.push(Instant::now());
            let sent = broker.publish(vec![publish(product(n.into(), &[]))]).await;
            assert!(sent.iter().all(Result::is_ok));
        }
        committed
    };
    let inside = replicas
        .iter()
        .flat_map(|replica| [replica; 4])
        .map(|replica| watch(end, move || async move { number(replica.read().await.body()) }));
    let (http, url) = (Http::new(), format!("{}/p/MUG", varnish.url()));
    let outside = (0..4).map(|_| {
        let (http, url) = (&http, &url);
        watch(end, move || async move {
            let response = http.get(url).await.unwrap();
            assert_eq!(response.status, 200, "{response:?}");
            number(&response.body)
        })
    });
    let (committed, inside, outside) = futures::join!(committing, join_all(inside), join_all(outside));
    for (who, reads) in [("a process", inside), ("Varnish", outside)] {
        let seen = Seen { committed: committed.clone(), reads: reads.into_iter().flatten().collect() };
        let mut oldest = seen.oldest();
        oldest.sort();
        println!("{who} showed the number before for {oldest:?}, {} reads", seen.reads.len());
        assert!(oldest.last().unwrap() <= &Duration::from_secs(2), "{who}: {oldest:?}");
        assert!(seen.reads.iter().any(|(_, number)| *number == CHANGES), "{who} shows the last");
    }
    shutdown.request();
    role.await.unwrap().unwrap();
    broker.close().await;
    tasks.join().await;
}
