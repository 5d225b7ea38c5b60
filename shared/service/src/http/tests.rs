use std::convert::Infallible;
use std::time::Instant;

use axum::body::{Body, Bytes, to_bytes};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use futures::stream;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;

const LONG: Duration = Duration::from_secs(20);

struct Running {
    addr: SocketAddr,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Running {
    async fn start(router: Router, config: Config) -> Self {
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(Config { bind, ..config }).await.unwrap();
        let running = Self { addr: server.local_addr(), shutdown: Shutdown::new(), tasks: Tasks::new() };
        let serving = server.serve(router, running.shutdown.clone());
        running.tasks.spawn("server", serving);
        running
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// A client of HTTP/2 that answers pings, and has room for so many bytes of an answer that it does not read.
    async fn connect_http_2(&self, room: u32) -> SendRequest<Body> {
        let io = TokioIo::new(self.connect().await);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.initial_stream_window_size(room).handshake(io).await.unwrap();
        drop(Tasks::new().spawn("client", connection));
        sender
    }

    /// What the server begins to answer.
    async fn ask(&self, client: &mut SendRequest<Body>, path: &str) -> axum::http::Response<Incoming> {
        let request = hyper::Request::get(format!("http://{}{path}", self.addr)).body(Body::empty()).unwrap();
        client.send_request(request).await.unwrap()
    }

    /// Sends `head`, reads until the server closes.
    async fn exchange(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn stopped(&self) {
        tokio::time::timeout(LONG, self.tasks.join()).await.expect("the server stops");
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes));
    // A reset is a close too.
    drop(read.await.expect("the server closes the connection"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Beside a greeting: an answer without an end, and one of 20 beats, 100 ms apart.
fn streams() -> Router {
    let endless = async || Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from(vec![0_u8; 65_536]))));
    let beats = async || {
        Body::from_stream(stream::unfold(0, |beat| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            (beat < 20).then_some((Ok::<_, Infallible>(Bytes::from_static(b"beat ")), beat + 1))
        }))
    };
    hello().route("/endless", get(endless)).route("/beats", get(beats))
}

#[tokio::test]
async fn a_connection_that_never_finishes_its_request_head_is_closed() {
    let config = Config { header_timeout_ms: 200, ..Config::default() };
    let server = Running::start(hello(), config).await;
    for start in ["", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: ", "PRI * HTTP/2.0\r\n"] {
        let begun = Instant::now();
        let answer = server.exchange(start).await;
        assert!(!answer.contains("hello"), "{start:?}: {answer}");
        assert!(begun.elapsed() < LONG / 2, "{start:?}");
    }
    // An idle connection between two requests is one that does not finish its head.
    let answer = server.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_reads_gives_its_connection_back() {
    let config = Config { max_connections: 1, write_timeout_ms: 300, ..Config::default() };
    let server = Running::start(streams(), config).await;
    let mut deaf = server.connect().await;
    deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let answer = server.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    drop(deaf);
}

#[tokio::test]
async fn an_http_2_client_that_asks_no_more_or_never_reads_gives_its_connection_back_though_it_answers_pings() {
    let (header_timeout_ms, request_timeout_ms, write_timeout_ms) = (300, 300, 300);
    let config =
        Config { max_connections: 1, header_timeout_ms, request_timeout_ms, write_timeout_ms, ..Config::default() };
    let server = Running::start(streams().route("/big", get(async || vec![0_u8; 1 << 20])), config).await;
    // Read, handed over whole while nobody reads, and never to end.
    for path in ["/", "/big", "/endless"] {
        let mut client = server.connect_http_2(1_000).await;
        let answer = server.ask(&mut client, path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let next = server.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(next.ends_with("hello"), "{path}: {next}");
        drop((client, answer));
    }
}

#[tokio::test]
async fn an_answer_that_streams_on_is_not_cut() {
    let (header_timeout_ms, request_timeout_ms, write_timeout_ms) = (500, 500, 500);
    let config = Config { header_timeout_ms, request_timeout_ms, write_timeout_ms, ..Config::default() };
    let server = Running::start(streams(), config).await;
    let http_2 = async {
        let mut client = server.connect_http_2(1_000).await;
        let answer = server.ask(&mut client, "/beats").await;
        to_bytes(Body::new(answer.into_body()), 1_000).await.unwrap()
    };
    let http_1 = server.exchange("GET /beats HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (http_1, http_2) = tokio::join!(http_1, http_2);
    assert_eq!(http_1.matches("beat ").count(), 20, "{http_1}");
    assert_eq!(http_2, "beat ".repeat(20));
}

#[tokio::test]
async fn a_request_id_that_is_more_than_a_short_word_is_not_passed_on() {
    let server = Running::start(hello(), Config::default()).await;
    let (longest, too_long) = ("x".repeat(128), "x".repeat(129));
    let kept = ["a.B-9_z", longest.as_str()];
    for given in kept.into_iter().chain(["", too_long.as_str(), "<script>", "a b", "a,b", "é"]) {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: {given}\r\nconnection: close\r\n\r\n");
        let answer = server.exchange(&head).await;
        let (_, id) = answer.split_once("x-request-id: ").expect("an id");
        assert_eq!(id.starts_with(&format!("{given}\r\n")), kept.contains(&given), "{answer}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_and_panics_are_problems() {
    async fn broken() {
        panic!("a secret");
    }
    let router = hello().route("/broken", get(broken));
    let server = Running::start(router, Config::default()).await;
    for (request, status, code) in [
        ("GET /nowhere", "404", "not_found"),
        ("DELETE /", "405", "method_not_allowed"),
        ("GET /broken", "500", "internal"),
    ] {
        let answer = server.exchange(&format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        assert!(!answer.contains("a secret"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_at_hand_is_answered_without_the_router_and_counted_with_it() {
    let metrics = Metrics::new();
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let at_hand: AtHand = Arc::new(|uri, _| (uri.path() == "/").then(|| ("/", "at hand".into_response())));
    let server = Server::bind(Config { bind, ..Config::default() }).await.unwrap().measured(&metrics).at_hand(at_hand);
    let running = Running { addr: server.local_addr(), shutdown: Shutdown::new(), tasks: Tasks::new() };
    let router = hello().route("/other", get(async || "by the router"));
    running.tasks.spawn("server", server.serve(router, running.shutdown.clone()));
    for (request, answer) in [("GET /", "at hand"), ("GET /other", "by the router"), ("POST /", "method_not_allowed")] {
        let head = "HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\nconnection: close\r\n\r\n";
        let text = running.exchange(&format!("{request} {head}")).await;
        assert!(text.contains(answer) && text.contains("x-request-id: mine\r\n"), "{request}: {text}");
    }
    let counted = |route, method, status| {
        let labels = format!(
            "{{http_route=\"{route}\",http_request_method=\"{method}\",http_response_status_code=\"{status}\"}} 1\n"
        );
        metrics.text().contains(&format!("millpond_http_server_request_duration_seconds_count{labels}"))
    };
    assert!(
        counted("/", "GET", 200) && counted("/other", "GET", 200) && counted("/", "POST", 405),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn who_reads_is_told_of_a_fault_in_the_form_that_was_asked_for_and_nobody_else_is() {
    async fn broken() {
        panic!("a secret");
    }
    let router = Router::new()
        .route("/broken", get(broken).post(broken))
        .route("/hangs", get(std::future::pending::<()>).post(std::future::pending::<()>));
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let problems: Problems = Arc::new(|problem: Problem, headers: &HeaderMap| {
        let accept = headers.get_all("accept").iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        (problem.kind().status, format!("a page for {}, of {} headers", accept.join("+"), headers.len()))
            .into_response()
    });
    let config = Config { bind, request_timeout_ms: 50, ..Config::default() };
    let server = Server::bind(config).await.unwrap().problems(problems);
    let running = Running { addr: server.local_addr(), shutdown: Shutdown::new(), tasks: Tasks::new() };
    running.tasks.spawn("server", server.serve(router, running.shutdown.clone()));
    for (path, status) in [("/broken", 500), ("/hangs", 503)] {
        let head = "HTTP/1.1\r\nhost: a\r\naccept: text/html\r\naccept: */*\r\nconnection: close\r\n\r\n";
        let answer = running.exchange(&format!("GET {path} {head}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("a page for text/html+*/*, of 2 headers"), "{answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
        let answer = running.exchange(&format!("POST {path} {head}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn a_handler_that_hangs_is_answered_503_with_retry_after() {
    let router = Router::new().route("/", get(std::future::pending::<()>));
    let config = Config { request_timeout_ms: 50, ..Config::default() };
    let server = Running::start(router, config).await;
    let answer = server.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
}

#[tokio::test]
async fn a_soft_stop_lets_the_request_in_flight_finish_and_closes_idle_connections() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let slow = post(move || async move {
        inside.notify_one();
        wait.notified().await;
        "done"
    });
    let server = Running::start(Router::new().route("/", slow), Config::default()).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    entered.notified().await;
    server.shutdown.request();
    assert_eq!(read_to_end(&mut idle).await, "");
    release.notify_one();
    assert!(read_to_end(&mut busy).await.ends_with("done"));
    server.stopped().await;
}

#[tokio::test]
async fn a_drain_that_takes_too_long_closes_what_is_open() {
    let entered = Arc::new(Notify::new());
    let inside = Arc::clone(&entered);
    let stuck = get(move || async move {
        inside.notify_one();
        std::future::pending::<()>().await;
    });
    let config = Config { drain_ms: 50, ..Config::default() };
    let server = Running::start(Router::new().route("/", stuck), config).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    entered.notified().await;
    server.shutdown.request();
    assert_eq!(read_to_end(&mut stream).await, "");
    server.stopped().await;
    assert!(!server.shutdown.hard().is_cancelled(), "the rest of the process is not stopped hard");
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_do() {
    let server = Running::start(hello(), Config::default()).await;
    let config = Config { bind: server.addr, ..Config::default() };
    let error = Server::bind(config).await.unwrap_err().to_string();
    assert!(error.contains(&server.addr.to_string()), "{error}");
    assert!(error.contains("choose another"), "{error}");
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_a_free_slot() {
    let config = Config { max_connections: 1, header_timeout_ms: 200, ..Config::default() };
    let server = Running::start(hello(), config).await;
    let first = server.connect().await;
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    // The first never speaks, is closed, and frees its slot.
    assert!(read_to_end(&mut second).await.ends_with("hello"));
    drop(first);
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused_at_start_up() {
    let config = Config { max_connections: 0, ..Config::default() };
    let error = Server::bind(config).await.unwrap_err().to_string();
    assert!(error.contains("max_connections must be 1 to"), "{error}");
}

#[tokio::test]
async fn http_2_is_served_on_the_same_port_and_its_streams_are_joined() {
    let server = Running::start(hello(), Config::default()).await;
    let io = hyper_util::rt::TokioIo::new(server.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let client = Tasks::new();
    client.spawn("client", connection);
    for _ in 0..3 {
        let request = hyper::Request::get(format!("http://{}/", server.addr)).body(Body::empty()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.version(), hyper::Version::HTTP_2);
        let body = Body::new(answer.into_body());
        assert_eq!(axum::body::to_bytes(body, 100).await.unwrap(), "hello");
    }
    server.shutdown.request();
    server.stopped().await;
    drop(sender);
    client.join().await;
}
