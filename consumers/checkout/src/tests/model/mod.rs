//! Checkout against a model: the real worker, the real handler and its allocation on a SQLite file, under whatever dies, is
//! lost, comes twice or overtakes. Every order takes effect once, whole, in the order of its batch, as long as there is
//! stock; and whatever a transaction did, it did all of it or nothing.
//!
//! Processes, broker and clock are those of the crate `faulty`. `PROPTEST_CASES` asks for more histories.

mod books;
mod desk;
mod machine;
