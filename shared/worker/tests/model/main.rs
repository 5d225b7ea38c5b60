//! The worker against a model: whatever dies, is lost, comes twice or overtakes, between any two steps, every message ends
//! with its effect there once, or parked for a reason that the model agrees with.
//!
//! Processes, broker and clock are those of the crate `faulty`; the worker is the real one, whole. A history that fails is
//! shrunk, and its seed kept in `machine.regressions`. `PROPTEST_CASES` asks for more histories, and
//! `PROPTEST_RNG_SEED` for those of one seed.

mod gentle;
mod kind;
mod ledger;
mod machine;
