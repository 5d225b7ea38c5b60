//! The one binary of Millpond. Everything it does is a verb, and every verb is a file below `verbs/`.

mod cli;
mod levels;
mod measured;
mod parts;
mod process;
mod role;
mod runtime;
mod settings;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Verb};
use settings::Settings;

/// Many small allocations on many threads is what a queue does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The one TLS provider of this process. It fails only when there is one already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    start(Cli::parse()).unwrap_or_else(|error| {
        verbs::complain(&format!("millpond: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A process with roles knows by its settings how many threads it needs; every other verb takes what there is.
fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    let load = || Settings::load(cli.global.config.as_deref(), &cli.global.set);
    let (settings, threads) = match &cli.verb {
        Verb::Run { roles } => {
            let settings = load()?;
            let threads = settings.runtime.threads_for(&role::Role::set(roles));
            (Some(settings), threads)
        }
        _ => (None, None),
    };
    // On the heap: it holds the whole configuration.
    runtime::build(threads)?.block_on(Box::pin(dispatch(cli, settings)))
}

/// `loaded` is the configuration where it was read already: it may come from a pipe, which gives it once.
async fn dispatch(cli: Cli, loaded: Option<Settings>) -> anyhow::Result<ExitCode> {
    let settings = || loaded.map_or_else(|| Settings::load(cli.global.config.as_deref(), &cli.global.set), Ok);
    let configured = cli.global.config.is_some() || !cli.global.set.is_empty();
    match cli.verb {
        Verb::Run { roles } => Box::pin(verbs::run::run(settings()?, &role::Role::set(&roles))).await,
        Verb::Demo(args) => verbs::demo::run(args, &cli.global.set).await,
        Verb::Migrate => verbs::migrate::run(&settings()?).await,
        Verb::Config { what } => verbs::config::run(what.as_ref(), settings),
        Verb::Keys { what } => verbs::keys::run(&settings()?, &what),
        Verb::Import(args) => verbs::import::run(&settings()?, &args).await,
        Verb::Load(args) => verbs::load::run(*args, configured, settings).await,
        Verb::Queues { ops, what } => verbs::queues::run(&settings()?, &ops, what.as_ref()).await,
        Verb::Budget { ops, what } => verbs::budget::run(&settings()?, &ops, &what).await,
        Verb::Orders { ops, what } => verbs::orders::run(&settings()?, &ops, &what).await,
        Verb::Parked { ops, what } => verbs::parked::run(&settings()?, &ops, &what).await,
        Verb::Audit { ops, limit, before } => verbs::audit::run(&settings()?, &ops, limit, before.as_deref()).await,
        Verb::Doctor => verbs::doctor::run(&settings()?).await,
    }
}
