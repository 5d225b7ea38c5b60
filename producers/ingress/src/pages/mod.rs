//! Page events: Segment's HTTP API (`track`, `page`, `identify`, `screen`, `group`, `alias`, `batch`).
//!
//! Answers are what Segment's clients can read: exactly 200 and `{"success":true}` once the batch is durable; errors as
//! JSON with `code` and `message` (every problem has both).

mod place;
mod read;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use broker::{Publish, layout};
use events::{Envelope, PageBatch, PageEventKind};
use model::headers as names;
use service::keys::{self, Entry, Scope};
use service::{Kind, Problem};

use crate::intake::{self, Limits, Media};
use crate::run::{Shared, publish_one};

/// Wrong fields in an event or a batch.
const INVALID_EVENTS: Kind =
    Kind::new(StatusCode::BAD_REQUEST, "invalid_events", "The events are not valid; none was taken");
/// What these routes take, in their 503s.
pub(crate) const WHAT: &str = "batches of events";
/// What every 503 of these routes says.
pub(crate) const AGAIN: &str = "send the events again: each counts once, by its messageId";

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    One(PageEventKind),
    Batch,
}

macro_rules! one {
    ($name:ident, $kind:ident) => {
        pub(crate) async fn $name(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
            counted(shared, request, Form::One(PageEventKind::$kind)).await
        }
    };
}

one!(track, Track);
one!(page, Page);
one!(identify, Identify);
one!(screen, Screen);
one!(group, Group);
one!(alias, Alias);

pub(crate) async fn batch(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    counted(shared, request, Form::Batch).await
}

async fn counted(shared: Arc<Shared>, request: Request, form: Form) -> Result<Response, Problem> {
    let answer = take(&shared, request, form).await;
    shared.events_gate.count(answer)
}

async fn take(shared: &Arc<Shared>, request: Request, form: Form) -> Result<Response, Problem> {
    let gate = &shared.events_gate;
    let (head, body) = request.into_parts();
    // Checked before the body is read, where the header has it; a body's writeKey has to be read first.
    let from_header =
        keys::from_header(&head.headers)?.map(|plain| check(shared, &plain, &head.headers)).transpose()?;
    gate.admit(&shared.events_valve)?;
    let bytes = match form {
        Form::One(_) => shared.config.event_bytes,
        Form::Batch => shared.config.batch_bytes,
    };
    let limits = Limits { media: Media::JsonOrText, bytes, time: shared.body_time() };
    let arrived = gate.read(&head.headers, body, &limits).await?;
    let body = arrived.body.clone();
    let raw = read::Raw::parse(&body, form).map_err(|error| intake::not_json(&error))?;
    let key = match (from_header, raw.write_key()) {
        (Some(key), _) => key,
        (None, Some(plain)) => check(shared, &plain, &head.headers)?,
        (None, None) => keys::check(&shared.keys, &*shared.clock, None, Scope::Events, &head.headers)?,
    };
    shared.market(&key)?;
    let place = gate.place(arrived)?;
    let limits = read::Limits { event_bytes: shared.config.event_bytes, batch_events: shared.config.batch_events };
    let events = raw
        .events(&limits, &*shared.clock)
        .map_err(|(detail, errors)| Problem::new(INVALID_EVENTS, detail).with_errors(errors))?;
    let count = events.len();
    let batch =
        PageBatch { market: key.market.clone(), source: key.name.clone(), received_at: shared.clock.now(), events };
    let publishing = publish_batch(Arc::clone(shared), batch, intake::traceparent(&head.headers));
    // In a task of its own, as an order's publish is.
    shared
        .tasks
        .spawn("events publish", async move {
            let outcome = publishing.await;
            drop(place);
            outcome
        })
        .await
        .map_err(|_| gate.failed(&broker::PublishError::Unknown))?
        .map_err(|error| gate.failed(&error))?;
    gate.meters.accepted_events(count);
    Ok(([(header::CONTENT_TYPE, "application/json")], r#"{"success":true}"#).into_response())
}

fn check(shared: &Shared, plain: &str, headers: &HeaderMap) -> Result<Arc<Entry>, Problem> {
    keys::check(&shared.keys, &*shared.clock, Some(plain), Scope::Events, headers)
}

async fn publish_batch(
    shared: Arc<Shared>,
    batch: PageBatch,
    traceparent: Option<String>,
) -> Result<(), broker::PublishError> {
    let count = batch.events.len();
    let mut message = Envelope::new(&*shared.clock, "ingress", batch).traced(traceparent).to_message();
    let bytes = message.body.len();
    message.headers.insert(names::EVENT_COUNT.to_owned(), count.to_string());
    let publish =
        Publish { exchange: shared.pages_exchange.clone(), routing_key: layout::PAGE_BATCH_KEY.to_owned(), message };
    publish_one(&*shared.events, publish).await?;
    shared.events_gate.mean.add(bytes);
    Ok(())
}
