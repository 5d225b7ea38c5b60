//! `millpond run ROLE…`: until a signal, or the first failure.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use service::{Readiness, Shutdown};
use tokio::time::interval;

use super::keys;
use crate::process::Process;
use crate::role::Role;
use crate::settings::Settings;

const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn run(settings: Settings, roles: &BTreeSet<Role>) -> anyhow::Result<ExitCode> {
    service::telemetry::init(&settings.log)?;
    let broken = failpoint::check().map_err(anyhow::Error::msg)?;
    if !broken.is_empty() {
        tracing::error!("a test build: these promises are broken on purpose: {}", broken.join(", "));
    }
    settings.prepare_data()?;
    // One process that signs and reads status URLs needs no second one to agree with.
    let alone = roles.contains(&Role::Ingress) && roles.contains(&Role::Storefront);
    if alone && !settings.token_key_file.exists() {
        keys::create_token_key(&settings.token_key_file)?;
        tracing::info!("{} was made; it signs status URLs", settings.token_key_file.display());
    }
    let shutdown = Shutdown::new();
    let readiness = Readiness::new(shutdown.clone());
    let process = Process::bind(settings, roles, readiness.clone(), shutdown.clone()).await?;
    let announce = async {
        until_ready(&readiness).await;
        tracing::info!("ready");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = process.run() => ended?,
        () = announce => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns once every role says that it is ready.
pub(crate) async fn until_ready(readiness: &Readiness) {
    let mut look = interval(LOOK_EVERY);
    while !readiness.report().ready {
        look.tick().await;
    }
}
