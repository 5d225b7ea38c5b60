//! `millpond demo`: everything in one process in a scratch folder, and a spike that the queue takes.
//!
//! Nothing here is staged but the load: the roles are those of `millpond run all`, on the same embedded parts, and the
//! oracle reads the database as a stranger would. Two settings are not the default: the database has a budget between
//! what the trickle needs and what the spike would, as an operator gives it one who wants it steady; and the budget stays
//! as it is, whatever else the machine does.

mod picture;
mod report;
mod scene;
mod spike;

use std::process::ExitCode;

use anyhow::bail;
use capacity::ReportFile;
use service::{Readiness, Shutdown};
use tokio::task::JoinSet;

use super::{complain, say};
use crate::cli::DemoArgs;
use crate::process::Process;
use crate::role::Role;
use scene::Scene;

/// What the database's budget allows, as a multiple of the trickle.
const DATABASE_FACTOR: f64 = 4.0;
/// Rows that an order of the demo comes to: itself, its line, the movement, and one that analytics writes out of the same
/// budget, after checkout. A batch's stock rows and its event are shared by its orders.
const ROWS_PER_ORDER: f64 = 4.0;

pub(crate) async fn run(args: DemoArgs, set: &[String]) -> anyhow::Result<ExitCode> {
    if !(1.0..=100_000.0).contains(&args.rate) {
        bail!("--rate {}: orders per second, 1 to 100000", args.rate);
    }
    let file = args.report.as_deref().map(ReportFile::claim).transpose()?;
    let rows_per_s = args.rate * DATABASE_FACTOR * ROWS_PER_ORDER;
    let scene = Scene::prepare(&args, format!("{rows_per_s:.0} rows/s").parse()?, set).await?;
    let shutdown = Shutdown::new();
    let readiness = Readiness::new(shutdown.clone());
    let process = Process::bind(scene.settings.clone(), &Role::ALL.into(), readiness.clone(), shutdown.clone()).await?;
    let url = format!("http://{}", process.local_addr());

    let mut serving = JoinSet::new();
    serving.spawn(process.run());
    let shown = tokio::select! {
        shown = show(&scene, &args, file, &url, &readiness, &shutdown) => shown,
        ended = serving.join_next() => return early(ended),
    };
    if args.exit || shown.is_err() {
        shutdown.request();
    }
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    shown
}

/// The spike from start to sentence.
async fn show(
    scene: &Scene,
    args: &DemoArgs,
    file: Option<ReportFile>,
    url: &str,
    ready: &Readiness,
    shutdown: &Shutdown,
) -> anyhow::Result<ExitCode> {
    super::run::until_ready(ready).await;
    scene.introduce(url);
    let report = spike::run(scene, args, url, shutdown.soft().clone()).await?;
    say("");
    say(&report.sentence());
    if !report.is_clean() {
        complain("A promise was broken: this is a defect of Millpond. The report says which.");
    }
    if let Some(file) = file {
        file.write(report.to_json()?)?;
    }
    if !args.exit {
        say(&format!("\nMillpond serves on at {url} until Ctrl-C; then its scratch folder is removed."));
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The process ended before the demo did.
fn early(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Result<ExitCode> {
    if let Some(ended) = ended {
        ended??;
    }
    bail!("Millpond stopped before the demo was over")
}
