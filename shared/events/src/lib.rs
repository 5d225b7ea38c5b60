//! Contracts between the parts of Millpond: one struct per event type and version, an [`Envelope`] around it, and a
//! golden JSON Schema beside it in `schemas/`.
//!
//! # Guarantees
//! - What is written is what the schema says: `cargo test -p events` generates each schema from its struct and holds it
//!   against the golden file. A drift is red.
//! - **A released version is never edited.** A change is a new struct with the next version and a `From` the old one;
//!   handlers see the newest alone ([`Contract::upgrade`] reads the older ones).
//! - Events tolerate fields they do not know (a newer writer); only HTTP denies them.
//! - A body that is not what it claims to be is [`DecodeError::Malformed`] and can never succeed; a type or version that
//!   this build does not know is [`DecodeError::Unknown`] and may, after a rolling upgrade.
//!
//! # To add an event
//! A payload struct in a file of its own, `impl Contract`, a line in [`schemas`], then
//! `UPDATE_SCHEMAS=1 cargo test -p events` writes the golden file. A new version is read one release before any process
//! writes it.

mod catalogue;
mod envelope;
mod order;
mod outcomes;
mod page;
mod purged;
mod schema;
mod taken_back;

pub use catalogue::{Band, ProductChanged, StockChanged, StockShortfall};
pub use envelope::{Contract, DecodeError, Envelope};
pub use order::{
    Attribution, OrderConfirmed, OrderLine, OrderPlaced, OrderRejected, OrderState, Pricing, Quantity, QuantityError,
    Rejection, Shortage,
};
pub use outcomes::OrderOutcomes;
pub use page::{PageBatch, PageEvent, PageEventKind, Product};
pub use purged::TagsPurged;
pub use schema::{GoldenSchema, schemas};
pub use taken_back::{OrderRefunded, OrderReleased, RefundedLine, ReleaseCause};
