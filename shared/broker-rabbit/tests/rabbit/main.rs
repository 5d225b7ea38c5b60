//! RabbitMQ against the conformance suite, and what is RabbitMQ's alone. One binary: a node is slow to start.

mod alarm_and_kill;
mod conformance;
mod fixture;
mod proxy;
mod publishing;
mod raw;
mod recovery;
mod wire;
