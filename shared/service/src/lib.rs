//! What every role's process needs and no role should write: how it starts logging, stops, keeps its tasks, serves HTTP,
//! answers errors and says that it is ready.
//!
//! # Nouns
//! - [`Shutdown`]: two tokens, soft and hard; [`listen`] pulls them on signals.
//! - [`Supervisor`]: runs the roles of a process side by side; [`Tasks`]: runs what a role starts. Nothing else spawns.
//! - [`http::Server`]: an accept loop with every limit that `axum::serve` lacks.
//! - [`Problem`]: the one form of an error over HTTP (RFC 9457), made from a [`Kind`] that each crate declares.
//! - [`keys::ApiKeys`]: who may call, from a hashed and hot-reloaded file; [`fields`]: bodies read so that every wrong field is
//!   named; [`idempotency`]: the header that makes a request safe to send again; [`edited_file`]: what such a file is edited with.
//! - [`Readiness`]: named conditions behind `/readyz`.
//! - [`metrics::Metrics`]: the registry behind `/metrics`, handed to whoever measures something.
//!
//! # Guarantees
//! - Every task is joined, and a panic in one is logged with the task's name and never passes as success.
//! - A role that fails, panics or ends unasked stops its whole process softly, with one line that names it: a process
//!   that runs half of its roles looks healthy and is not.
//! - No connection can hold the server for ever: request heads, bodies, handlers, answers that nobody takes and the drain each
//!   have a deadline.
//!
//! # Refused
//! Global statics (roles share a process, and so do tests), restarting a failed role in place (the supervisor of the
//! process does that, with a clean state), and plain-text error bodies.

pub mod body;
pub mod edited_file;
pub mod fields;
pub mod http;
pub mod idempotency;
pub mod keys;
mod lifecycle;
pub mod metrics;
mod problem;
mod readiness;
mod signals;
mod supervisor;
mod tasks;
pub mod telemetry;

pub use lifecycle::Shutdown;
pub use problem::{FieldError, Kind, Problem, kinds, retry_after};
pub use readiness::{Condition, Readiness};
pub use signals::listen;
pub use supervisor::{Supervisor, SupervisorConfig, SupervisorError};
pub use tasks::Tasks;
