//! Against Varnish itself, with `infra/varnish`, in front of a shop that counts what it is asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use cache::Tag;
use futures::future::join_all;
use service::Tasks;
use testkit::http::Http;
use testkit::varnish::{PrivateVarnish, Vcl};
use testkit::wait::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};

use super::{Running, tag};
use crate::cdn::{CdnConfig, CdnKind};

/// What the shop shows at `/p/SKU`: the same number on every page.
#[derive(Debug, Default)]
struct Shown {
    number: u32,
    asked: HashMap<String, u32>,
    /// How long an answer takes.
    takes: Duration,
    /// The status in place of 200.
    fails: Option<u16>,
    /// More tags for every page.
    more_tags: Vec<String>,
    cache_control: Option<&'static str>,
}

#[derive(Clone)]
struct Origin {
    address: SocketAddr,
    shown: Arc<Mutex<Shown>>,
}

impl Origin {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { address: listener.local_addr().unwrap(), shown: Arc::default() };
        let router = Router::new().fallback(answer).with_state(this.clone());
        drop(Tasks::new().spawn("origin", async move { axum::serve(listener, router).await }));
        this
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap());
    }

    fn asked(&self, path: &str) -> u32 {
        self.shown.lock().unwrap().asked.get(path).copied().unwrap_or(0)
    }
}

async fn answer(State(origin): State<Origin>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/healthz" {
        return Response::new(Body::empty());
    }
    let (number, takes, fails, tags, cache_control) = {
        let mut shown = origin.shown.lock().unwrap();
        *shown.asked.entry(path.clone()).or_default() += 1;
        let own = path.strip_prefix("/p/").map(|sku| format!("product:eu:{sku}"));
        let tags: Vec<String> = own.into_iter().chain(shown.more_tags.clone()).collect();
        let cache_control = "public, max-age=0, s-maxage=600, stale-while-revalidate=60, stale-if-error=600";
        (shown.number, shown.takes, shown.fails, tags, shown.cache_control.unwrap_or(cache_control))
    };
    sleep(takes).await;
    if let Some(status) = fails {
        return Response::builder().status(status).header("retry-after", "7").body(Body::from("broken")).unwrap();
    }
    let id = request.headers().get("x-request-id").cloned();
    Response::builder()
        .header("x-request-id", id.unwrap_or(HeaderValue::from_static("none")))
        .header("cache-control", cache_control)
        .header("surrogate-key", tags.join(" "))
        .header("etag", format!("\"{number}\""))
        .body(Body::from(number.to_string()))
        .unwrap()
}

/// A shop, a Varnish before it, and a client.
struct Site {
    origin: Origin,
    varnish: PrivateVarnish,
    http: Http,
}

impl Site {
    async fn open(vcl: Vcl) -> Self {
        let origin = Origin::start().await;
        let varnish = PrivateVarnish::start(origin.address, vcl).await.unwrap();
        Self { origin, varnish, http: Http::new() }
    }

    /// The number that a reader sees.
    async fn read(&self, path: &str) -> u32 {
        let response = self.http.get(&format!("{}{path}", self.varnish.url())).await.unwrap();
        assert_eq!(response.status, 200, "{response:?}");
        String::from_utf8(response.body.to_vec()).unwrap().parse().unwrap()
    }

    fn config(&self, kind: CdnKind) -> CdnConfig {
        let urls = vec![self.varnish.url()];
        CdnConfig { kind, urls, purge_at_start: false, again_ms: 0, after_ms: 10, ..CdnConfig::default() }
    }

    fn purging(&self, kind: CdnKind) -> Running {
        Running::start([("varnish", self.config(kind))])
    }
}

async fn until_purged(running: &Running, tags: f64) {
    let purged =
        || async { (running.metric("millpond_cdn_purged_tags_total{cdn=\"varnish\"}")? >= tags).then_some(()) };
    until("Varnish has purged", purged).await.unwrap();
}

#[tokio::test]
async fn what_carries_a_purged_tag_is_fetched_anew_and_nothing_else_is() {
    for (vcl, kind) in [(Vcl::Xkey, CdnKind::Varnish), (Vcl::Bans, CdnKind::VarnishBan)] {
        let site = Site::open(vcl).await;
        // To a regular expression that is not escaped the first two are one.
        let paths = ["/p/A.B+C", "/p/AxBBC", "/p/A.B+C1", "/p/CUP"];
        for path in paths {
            assert_eq!((site.read(path).await, site.read(path).await), (0, 0));
        }
        site.origin.change(|shown| shown.number = 1);
        assert_eq!(site.read(paths[0]).await, 0, "it is kept");
        let running = site.purging(kind);
        running.purged([Tag::product(&"eu".parse().unwrap(), &"A.B+C".parse().unwrap()), tag(1)]);
        until("the new page is served", || async { (site.read(paths[0]).await == 1).then_some(()) }).await.unwrap();
        for path in &paths[1..] {
            assert_eq!((site.read(path).await, site.origin.asked(path)), (0, 1), "{path} with {kind:?}");
        }
        // The tag of all pages.
        site.origin.change(|shown| shown.number = 2);
        running.purged([Tag::everything()]);
        for path in paths {
            until("every page is new", || async { (site.read(path).await == 2).then_some(()) }).await.unwrap();
        }
        running.finish().await;
    }
}

#[tokio::test]
async fn after_a_purge_the_old_page_is_served_for_a_moment_and_to_nobody_who_comes_later() {
    let site = Site::open(Vcl::Xkey).await;
    site.read("/p/MUG").await;
    site.origin.change(|shown| (shown.number, shown.takes) = (1, Duration::from_millis(300)));
    let running = site.purging(CdnKind::Varnish);
    running.purged([Tag::product(&"eu".parse().unwrap(), &"MUG".parse().unwrap())]);
    until_purged(&running, 1.0).await;
    sleep(Duration::from_millis(700)).await;
    // Nobody has read it meanwhile, so nobody has had it fetched.
    assert_eq!(site.origin.asked("/p/MUG"), 1);
    assert_eq!(site.read("/p/MUG").await, 1);
    running.finish().await;
}

#[tokio::test]
async fn a_purge_under_load_is_one_fetch_and_nobody_gets_an_error() {
    let site = Site::open(Vcl::Xkey).await;
    site.read("/p/MUG").await;
    site.origin.change(|shown| (shown.number, shown.takes) = (1, Duration::from_millis(200)));
    let running = site.purging(CdnKind::Varnish);
    let begin = Instant::now();
    running.purged([Tag::product(&"eu".parse().unwrap(), &"MUG".parse().unwrap())]);
    let readers = (0..64).map(async |_| {
        while begin.elapsed() < Duration::from_secs(2) {
            site.read("/p/MUG").await;
        }
    });
    join_all(readers).await;
    assert_eq!(site.read("/p/MUG").await, 1);
    assert_eq!(site.origin.asked("/p/MUG"), 2, "one fetch for all");
    running.finish().await;
}

#[tokio::test]
async fn what_was_fetched_from_a_process_that_had_not_heard_is_purged_a_second_time() {
    let site = Site::open(Vcl::Xkey).await;
    site.read("/p/MUG").await;
    let config = CdnConfig { again_ms: 800, ..site.config(CdnKind::Varnish) };
    let running = Running::start([("varnish", config)]);
    running.purged([Tag::product(&"eu".parse().unwrap(), &"MUG".parse().unwrap())]);
    until_purged(&running, 1.0).await;
    // The old number once more, and then the shop knows better.
    until("it is fetched", || async {
        site.read("/p/MUG").await;
        (site.origin.asked("/p/MUG") == 2).then_some(())
    })
    .await
    .unwrap();
    site.origin.change(|shown| shown.number = 1);
    until("the new page is served", || async { (site.read("/p/MUG").await == 1).then_some(()) }).await.unwrap();
    running.finish().await;
}

#[tokio::test]
async fn while_the_shop_fails_purged_pages_are_served_and_others_fail_as_the_shop_does() {
    let site = Site::open(Vcl::Xkey).await;
    site.read("/p/MUG").await;
    site.origin.change(|shown| (shown.number, shown.fails) = (1, Some(503)));
    let running = site.purging(CdnKind::Varnish);
    running.purged([Tag::product(&"eu".parse().unwrap(), &"MUG".parse().unwrap())]);
    until_purged(&running, 1.0).await;
    for _ in 0..3 {
        assert_eq!(site.read("/p/MUG").await, 0);
        sleep(Duration::from_millis(400)).await;
    }
    let unseen = site.http.get(&format!("{}/p/CUP", site.varnish.url())).await.unwrap();
    assert_eq!((unseen.status.as_u16(), unseen.header("retry-after")), (503, "7"));
    assert_eq!(site.origin.asked("/p/CUP"), 1, "a shop that fails is not asked twice");
    site.origin.change(|shown| shown.fails = None);
    until("the new page is served", || async { (site.read("/p/MUG").await == 1).then_some(()) }).await.unwrap();
    assert_eq!(site.read("/p/CUP").await, 1);
    running.finish().await;
}

#[tokio::test]
async fn a_long_list_of_tags_fits_and_its_last_one_purges() {
    let site = Site::open(Vcl::Xkey).await;
    let tags: Vec<String> = (0..500).map(|n| format!("product:eu:{}-{n}", "X".repeat(60))).collect();
    let last = Tag::from(tags[499].clone());
    site.origin.change(|shown| shown.more_tags = tags);
    assert_eq!((site.read("/list").await, site.read("/list").await), (0, 0));
    assert_eq!(site.origin.asked("/list"), 1);
    site.origin.change(|shown| shown.number = 1);
    let running = site.purging(CdnKind::Varnish);
    running.purged([last]);
    until("the new list is served", || async { (site.read("/list").await == 1).then_some(()) }).await.unwrap();
    running.finish().await;
}

#[tokio::test]
async fn a_cookie_keeps_no_page_out_of_the_cache_and_what_is_not_to_be_stored_is_not() {
    let site = Site::open(Vcl::Xkey).await;
    let url = format!("{}/p/MUG?b=1&a=2", site.varnish.url());
    for cookie in ["a=1", "a=2", ""] {
        let response = site.http.send("GET".parse().unwrap(), &url, &[("cookie", cookie)], "").await.unwrap();
        assert_eq!(response.status, 200);
    }
    site.read("/p/MUG?a=2&b=1").await;
    assert_eq!(site.origin.asked("/p/MUG"), 1, "and two spellings of one query are one page");
    site.origin.change(|shown| shown.cache_control = Some("no-store"));
    for _ in 0..3 {
        site.read("/v1/orders/1").await;
    }
    assert_eq!(site.origin.asked("/v1/orders/1"), 3);
}

#[tokio::test]
async fn a_page_that_is_kept_carries_the_id_of_no_request_and_what_is_not_kept_that_of_its_own() {
    let site = Site::open(Vcl::Xkey).await;
    let id = async |path: &str, id: &str| {
        let url = format!("{}{path}", site.varnish.url());
        let response = site.http.send("GET".parse().unwrap(), &url, &[("x-request-id", id)], "").await.unwrap();
        response.header("x-request-id").to_owned()
    };
    assert_eq!((id("/p/MUG", "one").await, id("/p/MUG", "two").await), (String::new(), String::new()));
    assert_eq!(site.origin.asked("/p/MUG"), 1);
    site.origin.change(|shown| shown.cache_control = Some("no-store"));
    assert_eq!(
        (id("/v1/orders/1", "one").await, id("/v1/orders/1", "two").await),
        ("one".to_owned(), "two".to_owned())
    );
}

#[tokio::test]
async fn a_purger_removes_one_page_however_its_query_is_written_and_no_other() {
    for vcl in [Vcl::Xkey, Vcl::Bans] {
        let site = Site::open(vcl).await;
        let (purged, kept) = ("/p/MUG?b=1&a=2", ["/p/MUG?a=2", "/p/CUP?b=1&a=2"]);
        for path in kept.into_iter().chain([purged]) {
            assert_eq!((site.read(path).await, site.read(path).await), (0, 0));
        }
        site.origin.change(|shown| shown.number = 1);
        assert_eq!(site.read(purged).await, 0, "it is kept");
        let url = format!("{}/p/MUG?a=2&b=1", site.varnish.url());
        let answer = site.http.send("PURGE".parse().unwrap(), &url, &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "{vcl:?}: {answer:?}");
        assert_eq!(site.read(purged).await, 1, "{vcl:?}");
        for path in kept {
            assert_eq!(site.read(path).await, 0, "{path} with {vcl:?}");
        }
    }
}

#[tokio::test]
async fn nobody_but_the_purgers_may_purge() {
    for (vcl, head) in [
        (Vcl::Xkey, "PURGE / HTTP/1.1\r\nxkey-softpurge: product:eu:MUG"),
        (Vcl::Xkey, "PURGE /p/MUG HTTP/1.1\r\nx-any: thing"),
        (Vcl::Bans, "BAN / HTTP/1.1\r\nban-tags: ."),
    ] {
        let site = Site::open(vcl).await;
        site.read("/p/MUG").await;
        // The list of purgers names 127.0.0.1 alone.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let address = site.varnish.url().trim_start_matches("http://").parse().unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        site.origin.change(|shown| shown.number = 1);
        assert_eq!(site.read("/p/MUG").await, 0);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_purged_when_it_is_back_and_keeps_no_other_waiting() {
    let mut down = Site::open(Vcl::Xkey).await;
    let up = Site::open(Vcl::Xkey).await;
    up.read("/p/1").await;
    let mut config = up.config(CdnKind::Varnish);
    (config.retry_min_ms, config.retry_max_ms) = (50, 100);
    config.urls.insert(0, down.varnish.url());
    down.varnish.kill().await.unwrap();
    let running = Running::start([("varnish", config)]);
    up.origin.change(|shown| shown.number = 1);
    running.purged([tag(1)]);
    until("the other one is purged", || async { (up.read("/p/1").await == 1).then_some(()) }).await.unwrap();
    assert_eq!(running.metric("millpond_cdn_available{cdn=\"varnish.1\"}"), Some(0.0));
    assert_eq!(running.metric("millpond_cdn_pending_tags{cdn=\"varnish.1\"}"), Some(1.0));
    down.varnish.bring_back().await.unwrap();
    until("it is purged", || async {
        (running.metric("millpond_cdn_purged_tags_total{cdn=\"varnish.1\"}")? >= 1.0).then_some(())
    })
    .await
    .unwrap();
    running.finish().await;
}
