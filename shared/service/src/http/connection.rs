//! One connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tower::Service as _;

use super::AtHand;
use super::layers::Around;
use super::write_timeout::WriteTimeout;
use crate::lifecycle::Shutdown;
use crate::tasks::Tasks;

/// What the connections of a server share.
pub(super) struct Context {
    pub(super) router: Router,
    pub(super) at_hand: Option<AtHand>,
    pub(super) around: Arc<Around>,
    pub(super) header_timeout: Duration,
    pub(super) write_timeout: Duration,
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

/// What its peer makes of a connection.
#[derive(Default)]
struct Activity {
    /// Whether a request has come.
    asked: AtomicBool,
    /// HTTP/2 streams that are open.
    open: AtomicUsize,
    /// Counts whatever one of them does; HTTP/1 has none.
    turns: AtomicUsize,
}

/// An HTTP/2 stream, open until this is dropped.
struct Open(Arc<Activity>);

impl Open {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        let open = Self(Arc::clone(activity));
        open.turn();
        open
    }

    fn turn(&self) {
        self.0.turns.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the tasks of a connection's HTTP/2 streams as tasks of the server, so that they are joined like the rest.
#[derive(Clone)]
struct Executor {
    context: Arc<Context>,
    activity: Arc<Activity>,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let open = Open::new(&self.activity);
        let stream = async move {
            let mut future = pin!(future);
            // One that waits for its peer to take more is not woken.
            poll_fn(|task| {
                open.turn();
                future.as_mut().poll(task)
            })
            .await;
        };
        let hard = self.context.stop.hard().clone();
        drop(self.context.tasks.spawn_until("http/2 stream", hard, stream));
    }
}

/// Serves the connection until either side is done, or a stop.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, context: Arc<Context>) {
    // Answers are small and written whole: waiting to fill a segment would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is gone already");
        return;
    }
    let activity = Arc::new(Activity::default());
    let service = service_fn({
        let context = Arc::clone(&context);
        let activity = Arc::clone(&activity);
        move |request: hyper::Request<Incoming>| {
            activity.asked.store(true, Ordering::Relaxed);
            if let Some(response) = context.at_hand(&request) {
                return Either::Left(ready(Ok(response)));
            }
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            // A router is always ready.
            Either::Right(context.router.clone().call(request))
        }
    });
    let builder = builder(&context, &activity);
    let io = TokioIo::new(WriteTimeout::new(stream, context.write_timeout));
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let idle = Notify::new();
    let mut overdue = pin!(overdue(&context, &activity, &idle));
    let mut draining = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "the connection ended");
                }
                return;
            }
            why = &mut overdue => {
                tracing::debug!(%peer, "closing a connection: {why}");
                return;
            }
            () = context.stop.soft().cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = idle.notified(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = context.stop.hard().cancelled() => return,
        }
    }
}

/// Waits until the connection has to be closed; why. One that has nothing to do is told to `idle` first, since the end of an
/// answer may still be on its way.
///
/// hyper's own timer starts only once it knows the protocol, so a client that sends nothing, or half of the HTTP/2 preface, would
/// stay for ever; and so would one of HTTP/2 that only pings, or gives its streams no room to be answered.
async fn overdue(context: &Context, activity: &Activity, idle: &Notify) -> &'static str {
    let period = context.header_timeout;
    sleep(period).await;
    if !activity.asked.load(Ordering::Relaxed) {
        return "no request came in time";
    }
    let mut turns = activity.turns.load(Ordering::Relaxed);
    if turns == 0 {
        // HTTP/1, where hyper times each head, and the stream each write.
        return std::future::pending().await;
    }
    let mut still = Duration::ZERO;
    loop {
        sleep(period).await;
        let before = std::mem::replace(&mut turns, activity.turns.load(Ordering::Relaxed));
        still = if turns == before { still + period } else { Duration::ZERO };
        let is_idle = activity.open.load(Ordering::Relaxed) == 0;
        if is_idle && still >= period {
            idle.notify_one();
        }
        // A handler may think for as long as it has, and what is answered may wait for its reader for as long as that one has.
        let patience = context.write_timeout + if is_idle { period } else { context.around.timeout };
        if still >= patience {
            return "nothing was done on it in time";
        }
    }
}

fn builder(context: &Arc<Context>, activity: &Arc<Activity>) -> auto::Builder<Executor> {
    let executor = Executor { context: Arc::clone(context), activity: Arc::clone(activity) };
    let mut builder = auto::Builder::new(executor);
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
