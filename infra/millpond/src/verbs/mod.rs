//! One file per verb.

use std::io::Write as _;

pub(crate) mod audit;
pub(crate) mod budget;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod migrate;
pub(crate) mod ops_client;
pub(crate) mod orders;
pub(crate) mod parked;
mod products;
pub(crate) mod queues;
pub(crate) mod run;

/// Prints a line to standard output, which belongs to a verb's result. A reader that has gone away (`| head`) is not an
/// error of ours.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
