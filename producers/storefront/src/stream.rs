//! An order's status as server-sent events, until nothing follows.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use model::StatusToken;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::view::{Known, View};

/// How long a browser waits before it opens the next stream after one has ended.
const RECONNECT: Duration = Duration::from_secs(2);

/// One shopper who waits.
pub(crate) struct Waiting {
    pub(crate) token: StatusToken,
    pub(crate) order: watch::Receiver<Option<Known>>,
    pub(crate) stop: CancellationToken,
    /// Frees its place among the streams when the stream is dropped.
    pub(crate) _slot: OwnedSemaphorePermit,
}

struct Told {
    waiting: Waiting,
    deadline: Instant,
    last: Option<i64>,
    is_over: bool,
}

/// The stream: an event `status` for what is known now and for every change, its id the order's version. Ends after a
/// terminal state, at the deadline, or when the process stops; only the first of these is final to the client, which the
/// member `terminal` tells it.
pub(crate) fn answer(waiting: Waiting, config: &Config) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let deadline = Instant::now() + Duration::from_secs(config.stream_max_s);
    let told = Told { waiting, deadline, last: None, is_over: false };
    let heartbeat = KeepAlive::new().interval(Duration::from_secs(config.heartbeat_s.max(1)));
    Sse::new(stream::unfold(told, next)).keep_alive(heartbeat)
}

async fn next(mut told: Told) -> Option<(Result<Event, Infallible>, Told)> {
    if told.is_over {
        return None;
    }
    loop {
        let known = told.waiting.order.borrow_and_update().clone();
        if let Some(view) = known.map(|known| View::of(&told.waiting.token, &known))
            && told.last.is_none_or(|last| last < view.version())
        {
            let first = told.last.replace(view.version()).is_none();
            told.is_over = view.is_terminal();
            return Some((Ok(event(&view, first)), told));
        }
        tokio::select! {
            changed = told.waiting.order.changed() => changed.ok()?,
            () = sleep_until(told.deadline) => return None,
            () = told.waiting.stop.cancelled() => return None,
        }
    }
}

fn event(view: &View, first: bool) -> Event {
    let event = Event::default().event("status").id(view.version().to_string());
    let event = if first { event.retry(RECONNECT) } else { event };
    event.json_data(view).unwrap_or_else(|error| {
        tracing::error!(%error, "a status can't be written as JSON");
        Event::default().comment("error")
    })
}
