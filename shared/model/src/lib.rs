//! The nouns that two crates of Millpond share, and nothing else: typed ids, money, the clock, the wire [`Message`]
//! and the [`StatusToken`]. There is no IO here.
//!
//! # Guarantees
//! - A value of a type in this crate is valid: fields are private, and every text from outside is parsed once, at the
//!   edge (`"…".parse::<Sku>()`, or serde with the same checks), with an error that says what was wrong.
//! - [`OrderId`] is a pure function of region, market and idempotency key. A retry computes the same id on any machine,
//!   with no lookup and no shared state, and the region can be read back from the id alone.
//! - [`Money`] never rounds and never wraps: it is an `i64` of minor units, and its arithmetic is checked.
//! - Time is an argument: whoever needs it takes a [`Clock`]. `clippy.toml` bans the global ones.
//!
//! # Refused
//! Decimal or floating point prices (a sum of them depends on its order); ids that are bare strings or UUIDs (two of
//! them are swapped one day); a status token that is encrypted (it carries nothing secret, it only has to be authentic).

mod clock;
mod ids;
mod message;
mod money;
mod order_id;
mod status_token;
mod text;

pub use clock::{Clock, ManualClock, SystemClock};
pub use ids::{
    ClientEventId, CollectionName, CustomerRef, EventId, IdempotencyKey, MarketId, MessageId, RegionName, RegionNumber,
    Sku, TextError,
};
pub use message::{Message, headers};
pub use money::{Currency, Money, MoneyError};
pub use order_id::{Fingerprint, OrderId, OrderIdError};
pub use status_token::{StatusToken, TokenError, TokenKey};
