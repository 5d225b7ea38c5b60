//! The relay over both databases: with the embedded broker, and with one that fails on demand.

mod delivery;
mod failure;
mod fixture;
mod flaky;
mod volume;
