//! The routes as a client sees them, and what reaches the broker.

mod durable;
mod events;
mod forms;
mod keys;
mod orders;
mod overload;
mod refused;
mod server;
mod support;
