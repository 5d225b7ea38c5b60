//! `millpond load verify`: a journal held against the databases.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use capacity::{Claims, Finding, ReportFile};
use serde::Serialize;
use store::Databases;
use tokio::time::{Instant, interval};

use super::super::{complain, say};
use super::args::VerifyArgs;
use crate::parts::{NOT_HERE, absent_file};
use crate::settings::Settings;

/// Breaches that are printed; the report has more.
const NAMED: usize = 20;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The finding as scripts read it: its fields, and the run that it is about.
#[derive(Serialize)]
struct Judged<'a> {
    run: &'a str,
    /// The generator ended by itself; else what has no line in the journal may exist or not.
    complete: bool,
    clean: bool,
    #[serde(flatten)]
    finding: &'a Finding,
}

pub(super) async fn run(settings: &Settings, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let claims = Claims::read(&args.journal)?;
    if let Some(why) = settings.store.database.values().find_map(absent_file) {
        anyhow::bail!("{why}: {NOT_HERE}");
    }
    let file = args.report.as_deref().map(ReportFile::claim).transpose()?;
    let databases = Databases::open(&settings.store)?;
    let finding = judge(&claims, &databases, args.wait).await.context("the databases can't be read");
    databases.close().await;
    let finding = finding?;
    let judged =
        Judged { run: claims.run(), complete: claims.is_complete(), clean: finding.is_clean(), finding: &finding };
    say(&table(&judged));
    if !judged.clean {
        complain("A promise was broken.");
    }
    if let Some(file) = file {
        file.write(serde_json::to_string_pretty(&judged)? + "\n")?;
    }
    Ok(if judged.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Judges once the run has come to rest, or the patience is over.
async fn judge(claims: &Claims, databases: &Databases, patience: Duration) -> anyhow::Result<Finding> {
    let give_up = Instant::now() + patience;
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if Instant::now() < give_up && !capacity::settled(claims, databases).await? {
            continue;
        }
        let finding = capacity::verify(claims, databases).await?;
        // What is missing may only be late; what is there too often will not go away.
        if finding.lost == 0 || Instant::now() >= give_up {
            return Ok(finding);
        }
    }
}

fn table(judged: &Judged<'_>) -> String {
    let Judged { run, complete, finding, .. } = judged;
    let mut rows = vec![("run".to_owned(), (*run).to_owned())];
    if !complete {
        let text = "is cut off: attempts that it does not name count as unknown";
        rows.push(("the journal".to_owned(), text.to_owned()));
    }
    let mut number = |name: &str, count: u64| rows.push((name.to_owned(), count.to_string()));
    number("accepted", finding.accepted);
    for (state, count) in &finding.states {
        number(&format!("  {state}"), *count);
    }
    if finding.unknown_stored + finding.unknown_absent > 0 {
        number("unknown, stored", finding.unknown_stored);
        number("unknown, absent", finding.unknown_absent);
    }
    if finding.events_accepted + finding.events_counted > 0 {
        number("events accepted", finding.events_accepted);
        number("events counted", finding.events_counted);
    }
    number("lost", finding.lost);
    number("duplicated", finding.duplicated);
    number("unexpected", finding.unexpected);
    number("oversold", finding.oversold);
    number("unbalanced", finding.unbalanced);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("  {name:<width$}  {value}")).collect();
    let named = finding.breaches.named().iter().take(NAMED).map(|breach| format!("  {breach}"));
    lines.into_iter().chain(named).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_find_the_verdict_and_every_count_at_the_top() {
        let finding = Finding { accepted: 3, lost: 1, ..Finding::default() };
        let judged = Judged { run: "load-a", complete: false, clean: finding.is_clean(), finding: &finding };
        let json = serde_json::to_value(&judged).unwrap();
        assert_eq!((&json["clean"], &json["lost"], &json["run"]), (&false.into(), &1.into(), &"load-a".into()));
        for field in
            ["accepted", "duplicated", "unexpected", "oversold", "unbalanced", "states", "unknown_stored", "breaches"]
        {
            assert!(!json[field].is_null(), "{field}");
        }
        assert!(table(&judged).contains("is cut off"), "{}", table(&judged));
    }
}
