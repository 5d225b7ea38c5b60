//! One connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Method;
use axum::response::Response;
use futures::future::{Either, ready};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service as _;

use super::AtHand;
use super::layers::Around;
use crate::lifecycle::Shutdown;
use crate::tasks::Tasks;

/// What the connections of a server share.
pub(super) struct Context {
    pub(super) router: Router,
    pub(super) at_hand: Option<AtHand>,
    pub(super) around: Arc<Around>,
    pub(super) header_timeout: Duration,
    pub(super) stop: Shutdown,
    pub(super) tasks: Tasks,
}

impl Context {
    /// The answer to a request that needs no router.
    fn at_hand(&self, request: &hyper::Request<Incoming>) -> Option<Response> {
        let at_hand = self.at_hand.as_ref().filter(|_| request.method() == Method::GET)?;
        let begin = Instant::now();
        let (route, mut response) = at_hand(request.uri(), request.headers())?;
        self.around.at_hand(request.headers(), route, begin, &mut response);
        Some(response)
    }
}

/// Runs the tasks of HTTP/2 streams as tasks of the server, so that they are joined like the rest.
#[derive(Clone)]
struct Executor(Arc<Context>);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let hard = self.0.stop.hard().clone();
        drop(self.0.tasks.spawn_until("http/2 stream", hard, future));
    }
}

/// Serves the connection until either side is done, or a stop.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, context: Arc<Context>) {
    // Answers are small and written whole: waiting to fill a segment would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is gone already");
        return;
    }
    let seen = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let context = Arc::clone(&context);
        let seen = Arc::clone(&seen);
        move |request: hyper::Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            if let Some(response) = context.at_hand(&request) {
                return Either::Left(ready(Ok(response)));
            }
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            // A router is always ready.
            Either::Right(context.router.clone().call(request))
        }
    });
    let builder = builder(&context);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut guard = std::pin::pin!(silent(&seen, context.header_timeout));
    let mut guarding = true;
    let mut draining = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "the connection ended");
                }
                return;
            }
            is_silent = &mut guard, if guarding => {
                if is_silent {
                    tracing::debug!(%peer, "no request came in time");
                    return;
                }
                guarding = false;
            }
            () = context.stop.soft().cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = context.stop.hard().cancelled() => return,
        }
    }
}

/// Whether no request has come after `time`. hyper's own timer starts only once it knows the protocol, so a client that
/// sends nothing, or half of the HTTP/2 preface, would stay for ever.
async fn silent(seen: &AtomicBool, time: Duration) -> bool {
    tokio::time::sleep(time).await;
    !seen.load(Ordering::Relaxed)
}

fn builder(context: &Arc<Context>) -> auto::Builder<Executor> {
    let mut builder = auto::Builder::new(Executor(Arc::clone(context)));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(context.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        // A peer that is gone without a word is noticed by its silence.
        .keep_alive_interval(context.header_timeout)
        .keep_alive_timeout(context.header_timeout)
        .max_concurrent_streams(128);
    builder
}
