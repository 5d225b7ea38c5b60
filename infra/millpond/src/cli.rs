//! The command line: one verb, one file below `verbs/`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use service::keys::Scope;

use crate::role::RoleArg;
use crate::verbs::load::args::LoadArgs;
use crate::verbs::ops_client::OpsArgs;

/// An event-driven backend for storefronts: the queue takes the spike, the database sees a steady stream.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Where the configuration comes from: defaults, then the file, then the environment, then these.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file; `millpond config` prints a commented one.
    #[arg(long, global = true, env = "MILLPOND_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting, as in the file: `--set http.bind=0.0.0.0:8080`. May be repeated.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run one role or several, or all of them in this process.
    Run {
        /// Which.
        #[arg(required = true, value_name = "ROLE")]
        roles: Vec<RoleArg>,
    },
    /// Everything in a scratch directory: a trickle of orders, a 10x spike, the drain, and what was measured.
    Demo(DemoArgs),
    /// Bring the databases to this version's schema.
    Migrate,
    /// Print every setting with its default and what it means, or check a configuration.
    Config {
        #[command(subcommand)]
        what: Option<ConfigVerb>,
    },
    /// Manage the API keys of storefronts and the key that signs status URLs.
    Keys {
        #[command(subcommand)]
        what: KeysVerb,
    },
    /// Read products, prices and stock counts from a CSV or NDJSON file: all of its lines, or none.
    Import(ImportArgs),
    /// Send orders and page events at planned times and measure the answers; hold the journal against the databases.
    Load(Box<LoadArgs>),
    /// Say what waits in every queue, why, and until when; pause and resume.
    Queues {
        #[command(flatten)]
        ops: OpsArgs,
        #[command(subcommand)]
        what: Option<QueuesVerb>,
    },
    /// Show what databases are given per second, and set it for every process at once.
    Budget {
        #[command(flatten)]
        ops: OpsArgs,
        #[command(subcommand)]
        what: BudgetVerb,
    },
    /// Find an order and what became of it.
    Orders {
        #[command(flatten)]
        ops: OpsArgs,
        #[command(subcommand)]
        what: OrdersVerb,
    },
    /// Show messages that nobody could handle; replay or discard them, or stop a replay.
    Parked {
        #[command(flatten)]
        ops: OpsArgs,
        #[command(subcommand)]
        what: ParkedVerb,
    },
    /// Show what operators did, newest first.
    Audit {
        #[command(flatten)]
        ops: OpsArgs,
        /// How many rows.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        /// Only what was done before then, as 2026-11-24T14:00:00Z: the time of the last row goes on from there.
        #[arg(long, value_name = "TIME")]
        before: Option<String>,
    },
    /// Reach every part and say in plain words what is wrong.
    Doctor,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print every setting with its default and what it means.
    Default,
    /// Say whether the configuration is valid, and what is wrong where it is not.
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// Make an API key. It is printed once; the file keeps its hash.
    Create {
        /// What it is for; names it in the file, in logs and as the source of page events.
        #[arg(long)]
        name: String,
        /// The market that it posts to.
        #[arg(long)]
        market: String,
        /// For browsers: no price of its own is trusted, and only these origins may use it. May be repeated.
        #[arg(long, value_name = "ORIGIN")]
        origin: Vec<String>,
        /// What it may do: orders, events, stock or catalogue. May be repeated; without any, a server's key is for the first
        /// three and a browser's for orders and events.
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<Scope>,
    },
    /// List the names of the keys, never the keys.
    List,
    /// Remove a key; running processes notice within the reload interval.
    Revoke {
        /// The name that it was created with.
        #[arg(long)]
        name: String,
    },
    /// Make the key that signs status URLs, once for all processes of a shop.
    Token,
    /// Make an operator's token. It is printed once; the file keeps its hash, and what the operator does is written down under
    /// the name.
    Operator {
        /// Who.
        #[arg(long)]
        name: String,
        /// Take the operator out instead; running processes notice within the reload interval.
        #[arg(long)]
        revoke: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueuesVerb {
    /// Keep workers from taking from a queue, across restarts. What comes in waits.
    Pause {
        /// As `millpond queues` names it, or in short: checkout.main.
        queue: String,
        /// Why; shown to whoever looks.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let them take from it again.
    Resume {
        /// As `millpond queues` names it, or in short: checkout.main.
        queue: String,
        /// Why; written down with who did it.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BudgetVerb {
    /// Every database's budget, and who holds which part.
    Show,
    /// Write a budget into a database: it wins over the configuration of every process.
    Set {
        /// Its name in the configuration.
        database: String,
        /// "2000 rows/s", "100 transactions/s", both with a comma between, or "unlimited".
        budget: String,
    },
    /// Take back what was set: the configuration counts again.
    Unset {
        /// Its name in the configuration.
        database: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrdersVerb {
    /// By its id, its idempotency key or the shop's own number. Exit status 1 where nothing is stored.
    Find {
        /// Which.
        #[arg(value_name = "ID | KEY | REFERENCE")]
        find: String,
        /// Show what customers wrote; that is written into the audit trail.
        #[arg(long)]
        show_customer: bool,
    },
}

/// What may become of a parked message.
const STATES: [&str; 5] = ["open", "replaying", "replayed", "discarded", "closed"];

#[derive(Debug, Subcommand)]
pub(crate) enum ParkedVerb {
    /// Show what is parked in groups by queue, type and reason, each with a redacted sample; or every message by its names.
    List {
        #[command(flatten)]
        group: GroupArgs,
        /// The messages one by one, with the names that `show`, `replay` and `discard` take.
        #[arg(long)]
        messages: bool,
        /// Messages in this state alone; may be repeated. By default those that are not ended.
        #[arg(long, value_name = "STATE", requires = "messages", value_parser = STATES)]
        state: Vec<String>,
        /// Messages behind this one, as the page before names it.
        #[arg(long, value_name = "QUEUE/MESSAGE", requires = "messages")]
        after: Option<String>,
        /// How many groups, or messages.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show one message, redacted, and what became of it.
    Show {
        /// Its home queue, as the list names it, or in short: checkout.main.
        queue: String,
        /// Its id, as the list names it.
        message_id: String,
    },
    /// Put messages into their home queue again, and nowhere else, at a rate.
    Replay {
        #[command(flatten)]
        selected: SelectedArgs,
        /// Messages per second, for each database; by default what the configuration says.
        #[arg(long, value_name = "N", value_parser = per_second)]
        rate: Option<f64>,
    },
    /// Take messages out of the replay that they are a part of: they are open again. To slow a replay down, stop it and ask for it
    /// again.
    Stop {
        #[command(flatten)]
        selected: SelectedArgs,
    },
    /// Give messages up. They are kept for a while, and each can be replayed yet.
    Discard {
        #[command(flatten)]
        selected: SelectedArgs,
        /// Why; kept with the messages and in the audit trail.
        #[arg(long, value_name = "WHY")]
        because: String,
    },
}

/// A group of parked messages, or several: what is not named is any.
#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    /// Of this home queue, as the list names it, or in short: checkout.main.
    #[arg(long = "queue", id = "of_queue", value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
    /// Of this type.
    #[arg(long, value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// With this reason, as the list writes it.
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Option<String>,
}

/// One parked message, a group, or all.
#[derive(Debug, Args)]
pub(crate) struct SelectedArgs {
    /// The one message's home queue, as the list names it, or in short: checkout.main.
    #[arg(requires = "message_id", conflicts_with_all = ["of_queue", "kind", "reason", "all"])]
    pub(crate) one_queue: Option<String>,
    /// The one message's id.
    pub(crate) message_id: Option<String>,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    /// Every message that waits for this.
    #[arg(long, conflicts_with_all = ["of_queue", "kind", "reason"])]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A file of products.
    #[arg(
        help = "CSV with the columns sku, title, price, and where wanted on_hand, currency, description, image, collections \
                (with |), low_threshold; or NDJSON (.ndjson, .jsonl) with the members of PUT /v1/products/{sku}, and sku, \
                on_hand, low_threshold"
    )]
    pub(crate) file: PathBuf,
    /// The region whose catalogue it is; may be left out where there is only one.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Currency of lines that name none (ISO 4217).
    #[arg(long, default_value = "EUR")]
    pub(crate) currency: String,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Stop after the drain instead of serving on. Exit status 1 where anything was lost, doubled or oversold.
    #[arg(long)]
    pub(crate) exit: bool,
    /// Write what was measured as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Orders per second of the trickle; the spike has ten times as many.
    #[arg(long, default_value_t = 150.0)]
    pub(crate) rate: f64,
    /// How long the spike lasts, in seconds, up to a day.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) spike_s: u64,
}

impl DemoArgs {
    /// Where the demo serves.
    pub(crate) fn bind(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// Messages per second, above 0. JSON has no infinity and no NaN: either would arrive as null, which is the configuration's rate.
fn per_second(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("write messages per second above 0, as 20 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_lasts_from_a_second_to_a_day() {
        let read = |lasts: &str| Cli::try_parse_from(["millpond", "demo", "--spike-s", lasts]);
        for wrong in ["0", "86401", "18446744073709551615"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(read("86400").unwrap().verb, Verb::Demo(DemoArgs { spike_s: 86_400, .. })));
    }

    #[test]
    fn a_replay_takes_no_rate_that_would_be_sent_as_none() {
        let read = |rate: &str| Cli::try_parse_from(["millpond", "parked", "replay", "--all", "--rate", rate]);
        for wrong in ["inf", "nan", "1e400", "0", "x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let Verb::Parked { what: ParkedVerb::Replay { rate, .. }, .. } = read("0.5").unwrap().verb else {
            panic!("it is a replay");
        };
        assert_eq!(rate, Some(0.5));
    }

    #[test]
    fn a_state_is_asked_of_messages_alone_and_is_one_that_there_is() {
        let read = |args: &[&str]| Cli::try_parse_from([&["millpond", "parked", "list"][..], args].concat());
        for wrong in [&["--state", "open"][..], &["--after", "q/m"], &["--messages", "--state", "gone"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let both = read(&["--messages", "--state", "open", "--state", "discarded"]).unwrap();
        let Verb::Parked { what: ParkedVerb::List { messages: true, state, .. }, .. } = both.verb else {
            panic!("it lists messages");
        };
        assert_eq!(state, ["open", "discarded"]);
    }
}
