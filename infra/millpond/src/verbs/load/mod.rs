//! `millpond load`: what the system can carry, measured from outside; and `load verify`, what became of it.
//!
//! The generator runs on a thread of its own with a runtime of one thread: it shares the machine with what it measures,
//! and a request that wakes no second thread costs half. Whatever looks at the system runs on the usual runtime beside it.

pub(crate) mod args;
mod observe;
mod plan;
mod progress;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use capacity::{
    Config, Described, Journal, Live, Load, Look, Mix, Observed, Outcome, Report, ReportFile, Sync, Target,
};
use model::{Clock as _, SystemClock};
use service::Shutdown;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use self::args::{LoadArgs, LoadVerb, OutputArgs, SendArgs, SyncArg};
use self::observe::View;
use self::progress::Progress;
use super::{complain, say};
use crate::settings::Settings;

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While the queues drain, which decides how exactly the drain time is known.
const LOOK_EVERY_AT_THE_END: Duration = Duration::from_millis(100);

/// Runs the load. `configured`: a configuration was named, so that queues and databases can be looked at.
pub(crate) async fn run(
    args: LoadArgs,
    configured: bool,
    settings: impl FnOnce() -> anyhow::Result<Settings>,
) -> anyhow::Result<ExitCode> {
    match args.verb {
        Some(LoadVerb::Verify(args)) => verify::run(&settings()?, &args).await,
        None => send(args.send, if configured { Some(settings()?) } else { None }).await,
    }
}

async fn send(args: SendArgs, settings: Option<Settings>) -> anyhow::Result<ExitCode> {
    let SendArgs { target, course, what, output } = args;
    let url = target.url.as_deref().context("--url is missing: where the ingress is, such as http://127.0.0.1:8080")?;
    let key = target.key.as_deref().context("--key is missing: a server key, which `millpond keys create` makes")?;
    anyhow::ensure!(is_header(key), "--key holds characters that no key has");
    let seed = course.seed.unwrap_or_else(rand::random);
    let run = format!("load-{:032x}", rand::random::<u128>());
    let (load, load_words) = plan::load(&course)?;
    let (mix, mix_words) = plan::mix(&what, &run, seed)?;
    let config = plan::config(&target, course.max_requests)?;
    let ingress = Target::resolve(url, target.allow_host.as_deref()).await.context("--url")?;
    ingress.check().await.context("--url: is the ingress running (`millpond run all`), and at this port?")?;
    let files = Files::claim(&output)?;
    let View { observer, queue_seen, database_seen } = observe::open(settings.as_ref()).await?;
    let described = Described {
        run: run.clone(),
        url: url.to_owned(),
        started_at: SystemClock.now().to_rfc3339(),
        load: load_words,
        mix: mix_words,
        seed,
        connections: config.connections,
        saturating: matches!(load, Load::Saturate(_)),
        queue_seen,
        database_seen,
    };
    let shutdown = Shutdown::new();
    let mut signals = JoinSet::new();
    signals.spawn(service::listen(shutdown.clone()));
    let journal = match &output.journal {
        Some(path) => Some(journal(path, &mix, output.journal_sync)?),
        None => None,
    };
    let mut watch = Watch::new(observer, &load, shutdown);
    let outcome = watch.generate(config, load, mix, (ingress, key.to_owned()), journal).await?;
    let drained_in = watch.drain(output.drain).await;
    let report = watch.report(described, outcome, drained_in).await;
    say(&report.table());
    files.write(&report)?;
    if let Some(path) = &output.journal {
        say(&format!("\nHold it against the databases: millpond load verify --journal {} --wait 60s", path.display()));
    }
    if report.accepted == 0 {
        complain("Nothing was accepted.");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A key goes into a header as it is.
fn is_header(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())
}

fn journal(path: &Path, mix: &Mix, sync: SyncArg) -> anyhow::Result<Journal> {
    let sync = match sync {
        SyncArg::Group => Sync::Group,
        SyncArg::Never => Sync::Never,
    };
    Journal::create(path, mix, sync).context("--journal (a file that is not there yet)")
}

/// Where the report goes.
struct Files {
    json: Option<ReportFile>,
    html: Option<ReportFile>,
}

impl Files {
    fn claim(output: &OutputArgs) -> anyhow::Result<Self> {
        let claim = |path: Option<&Path>| path.map(ReportFile::claim).transpose();
        Ok(Self { json: claim(output.report.as_deref())?, html: claim(output.html.as_deref())? })
    }

    fn write(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(file) = &self.json {
            file.write(report.to_json())?;
        }
        if let Some(file) = &self.html {
            file.write(capacity::html(report))?;
        }
        Ok(())
    }
}

/// The run, seen from beside it.
struct Watch {
    observer: capacity::Observer,
    live: Arc<Live>,
    shutdown: Shutdown,
    progress: Progress,
    start: Instant,
    looks: Vec<Look>,
}

impl Watch {
    fn new(observer: capacity::Observer, load: &Load, shutdown: Shutdown) -> Self {
        let lasts = match load {
            Load::Open(shape) => shape.lasts(),
            Load::Saturate(lasts) => *lasts,
        };
        let (live, progress) = (Arc::new(Live::default()), Progress::new(lasts));
        Self { observer, live, shutdown, progress, start: Instant::now(), looks: Vec::new() }
    }

    /// Runs the generator on a thread of its own, and looks at the system meanwhile.
    async fn generate(
        &mut self,
        config: Config,
        load: Load,
        mix: Mix,
        (target, key): (Target, String),
        journal: Option<Journal>,
    ) -> anyhow::Result<Outcome> {
        let (live, stop) = (Arc::clone(&self.live), self.shutdown.soft().clone());
        let mut generator = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let run = capacity::generate(config, load, mix, (target, &key), journal, live, stop);
            anyhow::Ok(runtime.block_on(run)?)
        });
        self.start = Instant::now();
        let (mut look, mut redraw) = (interval(LOOK_EVERY), interval(REDRAW_EVERY));
        loop {
            tokio::select! {
                ended = &mut generator => return ended.context("the generator stopped")?.context("the journal"),
                _ = look.tick() => self.look().await,
                _ = redraw.tick() => self.progress.show(self.start.elapsed(), &self.live, self.looks.last()),
            }
        }
    }

    async fn look(&mut self) {
        let look = self.observer.look(self.start.elapsed()).await;
        self.looks.push(look);
    }

    /// How long it took until everything accepted was where it belongs; `None` where that can't be seen, or did not come
    /// in time.
    async fn drain(&mut self, patience: Duration) -> Option<Duration> {
        if !self.observer.sees_databases() {
            return None;
        }
        let (counts, _) = self.live.counts();
        let ended = Instant::now();
        let mut again = interval(LOOK_EVERY_AT_THE_END);
        let mut pictured = ended;
        loop {
            again.tick().await;
            let look = self.observer.look(self.start.elapsed()).await;
            let stored = look.stored.is_some_and(|stored| stored >= counts.orders_accepted);
            let empty = look.orders_waiting.unwrap_or(0) + look.events_waiting.unwrap_or(0) == 0;
            let counted = look.counted.unwrap_or(0) >= counts.events_accepted;
            let drained = empty && counted && stored;
            let over = drained || ended.elapsed() >= patience || self.shutdown.hard().is_cancelled();
            if over || pictured.elapsed() >= LOOK_EVERY {
                self.looks.push(look);
                pictured = Instant::now();
            }
            self.progress.show(self.start.elapsed(), &self.live, Some(&look));
            if over {
                return drained.then(|| ended.elapsed());
            }
        }
    }

    async fn report(self, described: Described, outcome: Outcome, drained_in: Option<Duration>) -> Report {
        self.progress.finish();
        let confirmed = self.observer.confirmed().await;
        let observed = Observed { looks: self.looks, drained_in, confirmed };
        let report = Report::new(described, self.live.snapshot(), outcome.took, outcome.stopped, &observed);
        self.observer.close().await;
        report
    }
}
