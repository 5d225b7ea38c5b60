//! `chaos`: what `infra/chaos.sh` runs, once it has built the binary under test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use capacity::ReportFile;
use chaos::class::Class;
use chaos::report::Report;
use chaos::run::{Options, run};
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// The exit status where no promise was broken, but not every class of faults struck. A broken promise is 1.
const INCOMPLETE: u8 = 2;
/// Above it the servers of a run would be measured, and not broken.
const HIGHEST_PER_S: f64 = 100_000.0;

/// Injects faults into a shop under load, and judges what is left: lost, duplicated, oversold, unexpected.
#[derive(Debug, Parser)]
#[command(name = "infra/chaos.sh", after_help = "Exit status 0: every fault was injected and every promise kept.")]
struct Args {
    /// How long faults are injected, up to a week; at least one round of all classes is played.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_080))]
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
    #[arg(long, default_value_t = 150.0, value_name = "N", value_parser = rate)]
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

/// A plan that is played without its load shows nothing.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= HIGHEST_PER_S => Ok(rate),
        _ => Err(format!("requests a second, above 0 and up to {HIGHEST_PER_S}")),
    }
}

/// The binary under test by its whole path: it is started in other folders.
fn under_test(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("--binary {} can't be used: infra/chaos.sh builds one and names it", path.display()))
}

/// Where the report goes: beside the JSON, under its name, a page and a chapter.
#[derive(Debug)]
struct Files {
    json: ReportFile,
    page: ReportFile,
    chapter: ReportFile,
}

impl Files {
    fn claim(json: &Path) -> Result<Self> {
        let (page, chapter) = (json.with_extension("html"), json.with_extension("md"));
        ensure!(
            json != page && json != chapter,
            "--report {}: the JSON would be lost, as a page (.html) and a chapter (.md) are written beside it: name it .json",
            json.display()
        );
        Ok(Self {
            json: ReportFile::claim(json)?,
            page: ReportFile::claim(&page)?,
            chapter: ReportFile::claim(&chapter)?,
        })
    }

    fn write(&self, report: &Report) -> Result<()> {
        self.json.write(report.to_json())?;
        self.page.write(report.to_html())?;
        Ok(self.chapter.write(report.to_markdown())?)
    }
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
        binary: under_test(&args.binary.context("--binary is missing")?)?,
        seed: args.seed.unwrap_or_else(rand::random),
        length: Duration::from_mins(args.minutes),
        rate: args.rate,
        classes: if args.only.is_empty() { Class::ALL.to_vec() } else { args.only },
    };
    let files = args.report.as_deref().map(Files::claim).transpose()?;
    let (report, kept) = run(&options, interrupted(), say).await?;
    print(&report.table());
    if let Some(folder) = kept {
        say(&format!("logs and journals lie in {}", folder.display()));
    }
    say(&format!("again: infra/chaos.sh --minutes {} --seed {}", args.minutes, options.seed));
    if let Some(files) = files {
        files.write(&report)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(option: &str, value: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["chaos", "--binary", "millpond", &format!("{option}={value}")])
    }

    #[test]
    fn a_run_that_would_play_nothing_or_without_its_load_is_refused() {
        for (option, wrong) in [
            ("--minutes", ["0", "10081", "18446744073709551615"].as_slice()),
            ("--rate", ["0", "-1", "NaN", "inf", "100001"].as_slice()),
        ] {
            for value in wrong {
                assert!(parsed(option, value).is_err(), "{option}={value}");
            }
        }
        assert_eq!(parsed("--minutes", "20").unwrap().minutes, 20);
        assert!((parsed("--rate", "0.5").unwrap().rate - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_report_that_can_not_be_written_is_refused_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |name: &str| format!("{:#}", Files::claim(&folder.path().join(name)).unwrap_err());
        assert!(refusal("none/chaos.json").contains("chaos.json can't be written"));
        for name in ["chaos.html", "chaos.md"] {
            assert!(refusal(name).contains("name it .json"), "{name}");
            assert!(!folder.path().join(name).exists(), "{name}");
        }
        Files::claim(&folder.path().join("chaos.json")).unwrap();
    }

    #[test]
    fn a_binary_that_is_not_there_is_named_with_what_builds_it() {
        let refusal = under_test(Path::new("/no/such/millpond")).unwrap_err().to_string();
        assert!(refusal.contains("/no/such/millpond") && refusal.contains("infra/chaos.sh"), "{refusal}");
    }
}
