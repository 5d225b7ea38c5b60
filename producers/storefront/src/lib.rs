//! What shoppers read, and what a shop's own servers change. Shoppers read the status of an order: `GET /v1/orders/{id}?t=TOKEN`, once, or as server-sent
//! events until nothing follows (`/v1/orders/{id}/events?t=TOKEN`, or the same URL with `Accept: text/event-stream`).
//!
//! Servers see exact stock, count, restock and lend it, and pay, ship, cancel and refund orders: the routes stand in `stock/mod.rs`,
//! what they mean in [`store::stock`]. They edit products one by one and import many ([`catalogue`], [`store::catalogue`]).
//!
//! # Guarantees
//! - **A valid token never gets 404.** It proves that the order was accepted. The answer is the cache's, else that of the
//!   primary of the region that the id names; where that has no row the order is `queued`.
//! - **`queued` is said only by a database that answered.** While it gives no answer, and the cache knows nothing, the
//!   answer is 503 with `Retry-After`: a confirmed order must not look queued again because a database blinked.
//! - **A shopper sees the outcome of their own post.** A token whose fingerprint is not that of the stored order belongs
//!   to a second, different post under a used key: `rejected: idempotency_conflict`, whatever became of the first.
//! - **A refusal tells nothing**: a missing, forged or misplaced token gets the same 403 whether or not there is an order.
//! - **Waiting is cheap for the database**: one query per database and tick for all streams of a process. Streams are
//!   bounded in number and time, and end with the process.
//! - **A cancelled order looks confirmed for a while at most**: the cache is told of each change, and where it was not, a
//!   confirmed order is believed from the cache alone while it is young ([`Config::trust_confirmed_s`]).
//! - **A change is made once for each key**, in a task of its own, and is answered the same to every repeat; only a server key
//!   with the scope `stock` may ask for one, and only within its market. Changes in flight are bounded.
//! - **No edit is lost**: one of a product or of stock that names the version it was made for is made to that version or not at
//!   all. An import is made
//!   whole, once for each key, or every bad line is named. Edits have places of their own: they take none from changes of orders.
//!
//! # The answer
//! ```json
//! {"order_id": "0001…", "state": "rejected", "reason": {"code": "out_of_stock", "short": […]}, "terminal": true,
//!  "version": 1, "accepted_at": "2026-11-27T12:00:00Z"}
//! ```
//! `state` is `queued` or one of `events::OrderState`. An event of the stream has the type `status`, the version as its
//! id, and the same JSON. A client closes its stream when `terminal` is true; one that comes back with that version as
//! `Last-Event-ID` gets 204, which stops a browser. Terminal is what nothing follows by itself: a confirmed order may be cancelled
//! by the shop later, which nobody needs to wait for.
//!
//! # Absences
//! No connection to a broker, and no crate of the ingress: reading and ordering fail apart.

mod caller;
pub mod catalogue;
mod condition;
mod config;
mod lookup;
mod pages;
mod routes;
mod run;
mod shop;
mod shown;
mod stock;
mod stream;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use config::{Catalogue, Changes, Config, Host, PublicReads, Shop};
pub use run::{Deps, Storefront, run};
