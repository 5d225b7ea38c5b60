use std::time::Instant;

use axum::body::Body;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
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
