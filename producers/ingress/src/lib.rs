//! Orders and page events in, over HTTP. One path for all of them: authenticate, validate, publish, wait for the
//! broker's confirm, answer.
//!
//! # Nouns
//! - [`service::keys::ApiKeys`]: who may call, from a hashed and hot-reloaded file. A key names its market; nothing in a body does.
//! - An **order** (`POST /v1/orders`): its id is computed from region, market and `Idempotency-Key`, so a retry is the
//!   same order wherever it lands.
//! - A **batch** of page events (`POST /v1/batch`, and `track`, `page`, `identify`, `screen`, `group`, `alias` as batches
//!   of one): Segment's model, reduced at the edge to what Millpond counts.
//!
//! # Guarantees
//! - **What was answered 202 (or 200 on the event routes) is durable in the broker.** The publish runs in a task of its
//!   own, so a client that disconnects does not cut it in half.
//! - **An outcome that is not known is a 503 that is safe to retry** with the same `Idempotency-Key`, with a `Retry-After`.
//! - **A wrong request is answered with every wrong field**, by JSON pointer, not only with the first.
//! - Nothing is taken before the queues that it goes to are declared: 503 `starting`, for orders and events apart.
//! - Work in flight, from the first byte of a body to the confirm, is bounded in requests and in bytes, for orders and
//!   events apart: above the bound the answer is 503 at once. Bodies that are still on their way get half of the bytes, so
//!   that slow ones keep no order out that arrives whole.
//! - **Under overload page events go first and orders last.** Looked at are bytes, age and alarms (`flow::Policy`), never a
//!   predicted wait: a paused database is what the queue is for. Who is shed is answered before the body is read, with a
//!   `Retry-After` that follows the queue's drain time. What is not known sheds nothing.
//!
//! # Absences
//! There is no database here, and no lookup on the way to the confirm. What is kept in memory (orders accepted a short
//! while ago, [`Config::recent_orders`]) only makes answers better: `Idempotency-Replayed`, and 422 for a key that comes
//! with another body. Where this process does not know, checkout decides, and the order's stored outcome says so.
//!
//! # Choices
//! - The same key while its first request is still in flight **joins that request** and gets its answer (the draft's 409
//!   would make the client wait and ask again for what is about to be known).
//! - A batch with one invalid event is refused **whole**, with every wrong event named: to take the rest and answer 200
//!   would lose events silently, since Segment's clients read nothing but the status.
//! - A browser key's prices are compared by checkout with the catalogue as of `accepted_at`, which this process stamps. A
//!   time that the browser sends would let anyone buy at last year's prices. Shipping, tax and discounts can't be
//!   compared with anything, so a browser key can't set them.
//! - The server and browser keys of a market **share one space of idempotency keys**: a retry is the same order whichever
//!   key it comes with, also after a key was rotated. So shops must use idempotency keys that nobody can guess (a UUID per
//!   order), not order numbers: a browser key is public, and whoever guesses the next number takes it with an order of
//!   their own, which then stands.
//! - A request that is wrong as it stands gets 400; 422 is the idempotency conflict alone.
//!
//! # To add a route
//! A handler that ends in `publish.rs`, its row in `router.rs`, its limits in [`Config`].

mod config;
mod gate;
mod intake;
mod mean;
mod meters;
mod orders;
mod overload;
mod pages;
mod pressure;
mod publish;
mod router;
mod run;
#[cfg(test)]
mod tests;
mod valve;

pub use config::{Config, Market};
pub use overload::{LimitsConfig, OverloadConfig};
pub use run::{Deps, Error, Ingress, run};
