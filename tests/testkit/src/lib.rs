//! What the tests share: servers of their own to run against, processes to start and kill, conditions to wait for.
//!
//! Isolation is by virtual host, database and key prefix, so that all tests run in parallel on one set of servers. A
//! server that a test needs and does not find is a failure that says to run `infra/test.sh`, never a skip.

pub mod http;
pub mod postgres;
pub mod process;
pub mod rabbit;
pub mod redis;
pub mod servers;
pub mod varnish;
pub mod vhost;
pub mod wait;
