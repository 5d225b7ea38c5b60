//! A server that keeps what it is asked and answers what it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use service::Tasks;
use tokio::time::Instant;

/// A request, read whole.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) line: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What it answers: a status, a header, a body, and how long it takes.
#[derive(Debug, Clone)]
pub(super) struct Say {
    pub(super) status: StatusCode,
    pub(super) header: Option<(&'static str, &'static str)>,
    pub(super) body: &'static str,
    pub(super) after: Duration,
}

impl Say {
    pub(super) fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        Self { status, header: None, body: "{\"success\": true}", after: Duration::ZERO }
    }
}

#[derive(Clone)]
pub(super) struct Recorder {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<Asked>>>,
    next: Arc<Mutex<VecDeque<Say>>>,
}

impl Recorder {
    /// Answers `first` in this order, and then 200.
    pub(super) async fn start(first: impl IntoIterator<Item = Say>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            kept: Arc::default(),
            next: Arc::new(Mutex::new(first.into_iter().collect())),
        };
        let router = Router::new().fallback(answer).with_state(this.clone());
        drop(Tasks::new().spawn("recorder", async move { axum::serve(listener, router).await }));
        this
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.kept.lock().unwrap().clone()
    }

    /// Waits until it was asked so often.
    pub(super) async fn until_asked(&self, times: usize) -> Vec<Asked> {
        let asked = || async { Some(self.asked()).filter(|asked| asked.len() >= times) };
        testkit::wait::until(&format!("{times} requests"), asked).await.unwrap()
    }
}

async fn answer(State(recorder): State<Recorder>, request: Request) -> Response {
    let at = Instant::now();
    let line = format!("{} {}", request.method(), request.uri().path());
    let headers = request.headers().clone();
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    recorder.kept.lock().unwrap().push(Asked { at, line, headers, body });
    let say = recorder.next.lock().unwrap().pop_front().unwrap_or(Say::status(200));
    tokio::time::sleep(say.after).await;
    let mut response = Response::builder().status(say.status);
    if let Some((name, value)) = say.header {
        response = response.header(name, value);
    }
    response.body(Body::from(say.body)).unwrap()
}
