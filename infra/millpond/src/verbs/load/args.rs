//! The arguments of `millpond load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// What `load` is asked for: to send, or (a verb of its own) to verify.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<LoadVerb>,
    #[command(flatten)]
    pub(crate) send: SendArgs,
}

const EXAMPLES: &str = "\
Examples:
  millpond load --url http://127.0.0.1:8080 --key $KEY --rate 1000 --for 30s --sku MUG
  millpond load --url … --key $KEY --rate 300 --spike 10x --for 60s --skus 1000 --sku-pattern 'SKU-{}' --journal run.jsonl
  millpond --config shop.toml load verify --journal run.jsonl --wait 60s

With a configuration (--config) the report also holds queue depth, database rate and drain time. Exit status 0: the run
was made, whatever was refused; 1 where nothing was accepted. `load verify` ends with 1 where a promise was broken.";

#[derive(Debug, Subcommand)]
pub(crate) enum LoadVerb {
    /// Hold a journal against the databases: lost, duplicated, unexpected, oversold. Exit status 1 on any.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The journal that `load --journal` wrote.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: PathBuf,
    /// Wait at most so long until the queues are drained, before judging.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub(crate) wait: Duration,
    /// Write what was found as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) course: CourseArgs,
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
pub(crate) struct TargetArgs {
    /// The ingress.
    #[arg(long, value_name = "URL", help = "The ingress, such as http://127.0.0.1:8080")]
    pub(crate) url: Option<String>,
    /// A server key of the shop (`millpond keys create`).
    #[arg(long, env = "MILLPOND_LOAD_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The host of --url once more, where it is not this machine.
    #[arg(long, value_name = "HOST")]
    pub(crate) allow_host: Option<String>,
    /// Connections kept open, and so the most requests in flight.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) connections: usize,
    /// Arrivals that may wait for a free connection; the wait counts as latency. More are not sent, and counted so.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) max_waiting: usize,
    /// How long an answer may take; then the outcome is unknown.
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub(crate) answer_within: Duration,
}

/// When requests are sent.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Course (arrivals are planned: a slow answer slows nothing, and latency counts from the plan)"
)]
pub(crate) struct CourseArgs {
    /// Requests per second.
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    pub(crate) rate: f64,
    /// How long: 30s, 5m, 500ms. With --spike, how long the spike is.
    #[arg(long = "for", default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub(crate) lasts: Duration,
    /// Go from --rate to this rate, in a straight line.
    #[arg(long, value_name = "N", conflicts_with_all = ["spike", "rates", "saturate"])]
    pub(crate) ramp_to: Option<f64>,
    /// Multiply --rate for the time of --for: 10x.
    #[arg(long, value_name = "FACTOR", value_parser = factor, conflicts_with_all = ["rates", "saturate"])]
    pub(crate) spike: Option<f64>,
    /// The time at --rate before the spike.
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME", requires = "spike")]
    pub(crate) before: Duration,
    /// The time at --rate after the spike.
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME", requires = "spike")]
    pub(crate) after: Duration,
    /// A recorded course.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "saturate",
        help = "A recorded course: CSV with the header offset_s,rate_per_s; in straight lines from row to row"
    )]
    pub(crate) rates: Option<PathBuf>,
    /// No plan: every connection sends its next request once the last is answered. It measures how much is taken, and says
    /// nothing about latency.
    #[arg(long)]
    pub(crate) saturate: bool,
    /// End after so many requests.
    #[arg(long, value_name = "N")]
    pub(crate) max_requests: Option<u64>,
    /// What randomness begins with: the same seed sends the same. Drawn where it is not given.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// What is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "What (orders are of one unit; name articles, or --events, or both)")]
pub(crate) struct WhatArgs {
    /// Order this article alone.
    #[arg(long, value_name = "SKU", conflicts_with_all = ["skus", "catalogue"])]
    pub(crate) sku: Option<String>,
    /// Order so many articles, named by --sku-pattern with the numbers from 1 on.
    #[arg(long, value_name = "N", conflicts_with = "catalogue")]
    pub(crate) skus: Option<u32>,
    /// Their names; {} is the number.
    #[arg(long, default_value = "SKU-{}", value_name = "PATTERN")]
    pub(crate) sku_pattern: String,
    /// Order the articles of a product file, as `millpond import` reads it, at its prices.
    #[arg(long, value_name = "FILE")]
    pub(crate) catalogue: Option<PathBuf>,
    /// Popularity of several articles: the one on rank k is ordered 1/k^S times as often as the first. 0: all alike.
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub(crate) zipf: f64,
    /// Price of one unit in minor units (cents), without --catalogue.
    #[arg(long, default_value_t = 1_450, value_name = "MINOR")]
    pub(crate) price: i64,
    /// Currency of the orders: that of the key's market.
    #[arg(long, default_value = "EUR", value_name = "CODE")]
    pub(crate) currency: String,
    /// Send page events: one in each request, or in batches. Alone, unless --orders-share says otherwise.
    #[arg(long, value_name = "KIND")]
    pub(crate) events: Option<EventsArg>,
    /// Page events in a batch, 1 to 2500.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) events_per_request: u32,
    /// With --events: the share of requests that are orders, 0 to 1. At --rate 1000 and 0.2, 200 orders per second.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", requires = "events")]
    pub(crate) orders_share: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventsArg {
    /// One event in each request, to /v1/page.
    Single,
    /// --events-per-request in each request, to /v1/batch.
    Batch,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write every attempt before it is sent, and every answer, for `load verify`. A new file.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// When the journal is synced to disk.
    #[arg(long, default_value = "group", value_name = "WHEN")]
    pub(crate) journal_sync: SyncArg,
    /// Write what was measured as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write it as a page with pictures, one file that needs no network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// With a configuration: how long to wait for the queues to drain, to measure it.
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub(crate) drain: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SyncArg {
    /// Stretches of attempts before any of them is sent, lines every 100 ms: the journal outlives a power cut.
    Group,
    /// When the system likes: it outlives a kill of this process alone. To keep the journal off a disk that is measured.
    Never,
}

/// A week: longer is a typing error.
const LONGEST: Duration = Duration::from_hours(24 * 7);

/// `30s`, `500ms`, `5m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(UNITS.to_owned()),
    };
    let seconds = digits.parse::<f64>().map_err(|_| UNITS.to_owned())? * factor;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| "a time from 0 to a week".to_owned())
}

const UNITS: &str = "write a time as 30s, 500ms, 5m or 1h";

/// `10x` or `10`.
fn factor(text: &str) -> Result<f64, String> {
    match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
        Ok(factor) if (0.0..=10_000.0).contains(&factor) => Ok(factor),
        _ => Err("write a factor as 10x, up to 10000x".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_factors_are_read_as_people_write_them() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        for wrong in ["", "s", "5 s", "-1s", "9d", "1e300h", "NaN", "500h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!((factor("10x"), factor("2.5")), (Ok(10.0), Ok(2.5)));
        for wrong in ["x", "-1x", "10X", "inf"] {
            assert!(factor(wrong).is_err(), "{wrong}");
        }
    }
}
