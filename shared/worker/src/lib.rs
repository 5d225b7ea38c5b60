//! The consume loop that every consumer shares.

mod handler;

pub use handler::{BatchError, Handler, Item, Verdict};
