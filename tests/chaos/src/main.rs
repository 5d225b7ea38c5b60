//! `chaos`: what `infra/chaos.sh` runs, once it has built the binary under test.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chaos::class::Class;
use chaos::run::{Options, run};
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// The exit status where no promise was broken, but not every class of faults struck. A broken promise is 1.
const INCOMPLETE: u8 = 2;

/// Injects faults into a shop under load, and judges what is left: lost, duplicated, oversold, unexpected.
#[derive(Debug, Parser)]
#[command(name = "infra/chaos.sh", after_help = "Exit status 0: every fault was injected and every promise kept.")]
struct Args {
    /// How long faults are injected; at least one round of all classes is played.
    #[arg(long, default_value_t = 3, value_name = "N")]
    minutes: u64,
    /// What the plan is made from; drawn and printed where it is not given.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Write what was found as JSON, and beside it as a page with pictures (.html) and as a chapter with tables (.md).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Only this class; may be repeated.
    #[arg(long, value_name = "CLASS", value_parser = class)]
    only: Vec<Class>,
    /// Requests a second, four of five of them orders.
    #[arg(long, default_value_t = 150.0, value_name = "N")]
    rate: f64,
    /// Print the classes and end.
    #[arg(long)]
    list: bool,
    /// The binary under test, with failpoints.
    #[arg(long, value_name = "FILE", env = "MILLPOND_CHAOS_BINARY", required_unless_present = "list")]
    binary: Option<PathBuf>,
}

fn class(name: &str) -> Result<Class, String> {
    Class::named(name).ok_or_else(|| "no such class: --list shows all".to_owned())
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        for class in Class::ALL {
            print(&format!("{:<20} {}", class.name(), class.what().trim()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options {
        binary: args.binary.context("--binary is missing")?.canonicalize().context("--binary")?,
        seed: args.seed.unwrap_or_else(rand::random),
        length: Duration::from_mins(args.minutes.max(1)),
        rate: args.rate,
        classes: if args.only.is_empty() { Class::ALL.to_vec() } else { args.only },
    };
    let (report, kept) = run(&options, interrupted(), say).await?;
    if let Some(path) = &args.report {
        let written = [
            (path.clone(), report.to_json()),
            (path.with_extension("html"), report.to_html()),
            (path.with_extension("md"), report.to_markdown()),
        ];
        for (path, text) in written {
            std::fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))?;
        }
    }
    print(&report.table());
    if let Some(folder) = kept {
        say(&format!("logs and journals lie in {}", folder.display()));
    }
    say(&format!("again: infra/chaos.sh --minutes {} --seed {}", args.minutes, options.seed));
    Ok(match (report.clean, report.complete) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(INCOMPLETE),
        (false, _) if !report.lost.is_empty() => ExitCode::from(INCOMPLETE),
        (false, _) => ExitCode::FAILURE,
    })
}

/// Ctrl-C or SIGTERM: what is under way is undone, and nothing is left behind.
fn interrupted() -> CancellationToken {
    let token = CancellationToken::new();
    let asked = token.clone();
    let listening = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                interrupt = tokio::signal::ctrl_c() => interrupt?,
                _ = terminate.recv() => (),
            }
            asked.cancel();
            std::io::Result::Ok(())
        })
    });
    if let Err(error) = listening {
        say(&format!("signals are not heard: {error}"));
    }
    token
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "chaos: {text}");
}

fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
