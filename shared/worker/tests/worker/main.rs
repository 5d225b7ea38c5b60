//! The loop over the embedded broker, with handlers that fail in every way there is.

#![cfg(test)]

mod bad_messages;
mod governed;
mod heartbeat;
mod kill;
mod outage;
mod pausing;
mod refused;
mod retries;
mod site;
mod stopping;
