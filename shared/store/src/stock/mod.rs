//! What happens to stock, and to an order, beside the sale: reservations that are paid or run out, cancellations, shipping,
//! refunds, restocking, counts, allotments. Each is one transaction of the region's database, and each happens once.
//!
//! # Nouns
//! A row of *stock* has units `on_hand` (in the warehouse) and, of these, units `reserved` (promised to orders and not shipped
//! yet). What is left over is *available*. Where a count found fewer units than are promised, the difference is the *shortfall*.
//! A *movement* is the line in the ledger that says which units moved, why, and for whom. A *reservation* is an order in state
//! `reserved`: its units are held until `expires_at`, and it is no sale yet. A *change* ([`Change`]) is what a shop asks for; a
//! *request* is a change under an `Idempotency-Key`.
//!
//! # Invariants
//! - **`reserved` is the sum of open promises**: of every order that is reserved, paid or confirmed, and not shipped, what it
//!   ordered less what was refunded. **`on_hand` changes by ship, count, restock, allotment, refund and import alone.**
//! - **The row is the sum of its movements**, of both numbers, after every commit. Rows and movements are written by the same
//!   transaction, which holds the row's lock.
//! - **A movement is unique** by (region, SKU, kind, reference), for ever: an order is released, cancelled or shipped once, a
//!   refund, a restock, a count, an allotment once for each key.
//! - **Nothing is oversold.** No change here raises `reserved`, and none takes promised units but a count, whose shortfall is in
//!   the row, in the answer and in the event `stock.shortfall`.
//! - **Of pay and expiry one wins**: both take the order's row, and both ask for the state `reserved`. Units that are still
//!   held may be paid for, also when their time is up and no sweeper has come by.
//!
//! # What an order goes through
//! | from | by | to | `on_hand` | `reserved` | told |
//! |---|---|---|---|---|---|
//! | – | checkout | `reserved`, or `confirmed` at once | | + ordered | `order.outcomes` if confirmed |
//! | `reserved` | [`Change::Pay`] | `paid` and `confirmed`, in one step | | | `order.confirmed` |
//! | `reserved` | [`fn@expire`], by the database's clock | `released` | | - ordered | `order.released` |
//! | `reserved`, `paid`, `confirmed` | [`Change::Cancel`] | `released` | | - ordered | `order.released` |
//! | `confirmed` | [`Change::Ship`] | `confirmed`, shipped | - rest | - rest | |
//! | `confirmed`, not shipped | [`Change::Refund`], units for sale again | `confirmed` | | - units | `order.refunded` |
//! | `confirmed`, not shipped | [`Change::Refund`], units gone | `confirmed` | - units | - units | `order.refunded` |
//! | `confirmed`, shipped | [`Change::Refund`], units came back | `confirmed` | + units | | `order.refunded` |
//! | `confirmed`, shipped | [`Change::Refund`], units did not | `confirmed` | | | `order.refunded` |
//!
//! `rejected` and `released` are final. Availability that crosses a band is told by `stock.changed`, whatever moved it.
//!
//! # Refused
//! - Cancelling what was shipped (refund it) or partly refunded (refund the rest): an order would be taken back twice.
//! - Refunding more units than the order has left, or more money than it cost.
//! - Shipping units that the last count did not find, and taking back promised units.
//! - A key again with another change. A change that was refused leaves no trace, so that the same key may try again.
//! - Moving money: a refund's amount is what the shop paid back, for the campaign's numbers.
//!
//! # Versions
//! A row's version counts every change of it, a sale's reservation too. A count that was made for a version ([`apply`]) is made to
//! that version or not at all, so that it overwrites no delivery that it has not seen. The answer's numbers are those of its
//! version: where units are being sold meanwhile, whoever asks looks again at what was promised, and sends it once more.
//!
//! # Why a request keeps its answer
//! So that a retry gets the same answer whatever happened since. The row of the request is inserted first: a second one with
//! the same key waits for it, and finds the answer. [`forget_requests`] throws old ones away; what they did can still not be
//! done again under their key, for the movement's own key is kept, and says so ([`Refusal::KeyOfThePast`]).
//!
//! Its tests are checkout's, whose orders it goes on with.
//!
//! # Order of locks
//! Request, order, stock rows in byte order of SKUs: the order that checkout keeps too, so nobody waits in a circle.

mod change;
mod counts;
mod expire;
mod ledger;
mod level;
mod order_row;
mod orders;
mod refund;
mod refusal;
mod request;

pub use change::{Change, Done, OrderAnswer, OrderNow, RefundLine, StockAnswer};
pub use expire::{Expired, expire};
pub use ledger::look;
pub use refusal::{Error, Refusal};
pub use request::{apply, forget_requests};
