//! `millpond doctor`: reaches every part that the configuration names and says in plain words what is wrong, and what
//! the shop is not protected from. Exit status 1 where something does not work; a warning alone is 0.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use broker::BrokerError;
use broker_embedded::Embedded;
use cache::Cache;
use sea_orm::ConnectionTrait as _;
use secrecy::{ExposeSecret as _, SecretString};
use store::{Backend, Database, Databases, Schema};
use tokio::time::{Instant, interval, timeout};

use super::{keys, say};
use crate::parts::{NOT_HERE, absent_file, embedded_file, open_broker};
use crate::settings::Settings;

/// How long any one part may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const ONE_DISK: &str = "a file on one disk: back it up, the loss of the disk is the loss of it";
const MADE_BY_RUN: &str = "the first `millpond run` makes it";
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The findings, as they are printed.
#[derive(Default)]
struct Report {
    failures: u32,
    warnings: u32,
}

impl Report {
    fn ok(part: &str, text: &str) {
        say(&format!("ok    {part}: {text}"));
    }

    fn warn(&mut self, part: &str, text: &str) {
        self.warnings += 1;
        say(&format!("warn  {part}: {text}"));
    }

    fn fail(&mut self, part: &str, text: &str) {
        self.failures += 1;
        say(&format!("FAIL  {part}: {text}"));
    }
}

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    files(settings, &mut report);
    examine_broker(settings, "orders", &settings.broker.orders, &mut report).await;
    if !settings.broker.events.expose_secret().is_empty() {
        examine_broker(settings, "events", &settings.broker.events, &mut report).await;
    }
    databases(settings, &mut report).await;
    examine_cache(settings, &mut report).await;
    say("");
    say(&match (report.failures, report.warnings) {
        (0, 0) => "Everything answers, and nothing is left to warn of.".to_owned(),
        (0, warnings) => {
            format!("Everything answers; {warnings} warnings above say what this set-up does not survive.")
        }
        (failures, _) => format!("{failures} parts do not work; the lines with FAIL say what to do."),
    });
    Ok(if report.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn files(settings: &Settings, report: &mut Report) {
    let data = settings.data.display();
    if settings.data.is_dir() {
        Report::ok("data", &format!("{data} is there"));
    } else {
        // No failure: where all parts are servers it may hold nothing yet.
        report.warn("data", &format!("there is no folder {data}: {NOT_HERE}; {MADE_BY_RUN}"));
    }
    match service::keys::read(&settings.ingress.keys_file) {
        Ok(keys) if keys.is_empty() => report.warn("API keys", "there is none, so every request is refused"),
        Ok(keys) => Report::ok("API keys", &format!("{} in {}", keys.len(), settings.ingress.keys_file.display())),
        Err(error) => report.fail("API keys", &format!("{:#}", anyhow::Error::from(error))),
    }
    match keys::token_key(&settings.token_key_file) {
        Ok(_) => Report::ok("token key", &settings.token_key_file.display().to_string()),
        Err(error) => report.fail("token key", &format!("{error:#}")),
    }
    for secret in [&settings.ingress.keys_file, &settings.token_key_file, &settings.ops.operators_file] {
        if is_open_to_others(secret) {
            report.warn("files", &format!("{} can be read by every user: chmod 600", secret.display()));
        }
    }
}

fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

async fn examine_broker(settings: &Settings, name: &str, url: &SecretString, report: &mut Report) {
    let part = format!("broker.{name}");
    let broker = match embedded_file(settings, name, url) {
        Ok(Some(file)) => return examine_file(&part, &file, report),
        Ok(None) => open_broker(settings, name, url).await,
        Err(error) => Err(error),
    };
    let broker = match broker {
        Ok(broker) => broker,
        Err(error) => return report.fail(&part, &format!("{error:#}")),
    };
    // RabbitMQ is connected to in the background: ask until it is there or the patience is over.
    let mut ask = interval(ASK_AGAIN);
    let give_up = Instant::now() + PATIENCE;
    let info = loop {
        ask.tick().await;
        match broker.info().await {
            Err(BrokerError::Unavailable(_)) if Instant::now() < give_up => {}
            answer => break answer,
        }
    };
    match info {
        Ok(info) => {
            Report::ok(&part, &format!("{} {} answers", info.product, info.version));
            info.warnings.iter().for_each(|warning| report.warn(&part, warning));
        }
        Err(error) => report.fail(&part, &format!("{error}; is it running, and are address, user and password right?")),
    }
    broker.close().await;
}

/// Looks at it alone: to open it would make one that is not there, and keep out a Millpond that starts meanwhile.
fn examine_file(part: &str, file: &Path, report: &mut Report) {
    let name = file.display();
    if !file.exists() {
        return report.fail(part, &format!("there is no queue at {name}: {NOT_HERE}; {MADE_BY_RUN}"));
    }
    match Embedded::examine(file) {
        Ok(()) => {
            Report::ok(part, &format!("embedded, in {name}"));
            report.warn(part, ONE_DISK);
        }
        Err(error) => report.fail(part, &error.to_string()),
    }
}

async fn databases(settings: &Settings, report: &mut Report) {
    let databases = match Databases::open(&settings.store) {
        Ok(databases) => databases,
        Err(error) => return report.fail("store", &error.to_string()),
    };
    for database in databases.databases() {
        let part = format!("database {}", database.name());
        if let Some(why) = settings.store.database.get(database.name()).and_then(absent_file) {
            report.fail(&part, &format!("{why}: {NOT_HERE}; {MADE_BY_RUN}"));
            continue;
        }
        if let Err(error) = database.probe().await {
            report.fail(&part, &format!("{error}; does it run, and are address, user and password right?"));
            continue;
        }
        match store::schema(database).await {
            Ok(Schema::Current) => Report::ok(&part, "answers, and its schema is this release's"),
            Ok(Schema::Pending(steps)) => {
                report.fail(&part, &format!("its schema lacks {}: run `millpond migrate`", steps.join(", ")));
            }
            Ok(Schema::Newer(steps)) => {
                let steps = steps.join(", ");
                report.warn(
                    &part,
                    &format!("a newer release migrated it ({steps}): fine during a roll-out, not after it"),
                );
            }
            Err(error) => report.fail(&part, &error.to_string()),
        }
        match database.backend() {
            Backend::Sqlite => report.warn(&part, ONE_DISK),
            Backend::Postgres => durability(database, &part, report).await,
        }
    }
    databases.close().await;
}

/// What `PostgreSQL`'s own settings say about committed transactions.
async fn durability(database: &Database, part: &str, report: &mut Report) {
    let sql = "SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit, \
               current_setting('synchronous_standby_names') AS standbys";
    let row = match database.read().query_one_raw(database.statement(sql, [])).await {
        Ok(Some(row)) => row,
        Ok(None) => return report.fail(part, "it answers with nothing"),
        Err(error) => return report.fail(part, &error.to_string()),
    };
    let setting = |name: &str| row.try_get::<String>("", name).unwrap_or_default();
    if setting("fsync") == "off" {
        report.fail(part, "fsync is off: a power cut can destroy it, and lose every order in it");
    }
    if matches!(setting("commit").as_str(), "off" | "local") {
        report.warn(part, "synchronous_commit is below `on`: orders that were confirmed can be lost in a crash");
    }
    if setting("standbys").is_empty() {
        report.warn(part, "no synchronous standby: it tolerates the loss of no server, confirmed orders included");
    }
}

async fn examine_cache(settings: &Settings, report: &mut Report) {
    if settings.cache.url.expose_secret() == "memory:" {
        return Report::ok("cache", "in memory: each process has its own");
    }
    match timeout(PATIENCE, Cache::open(&settings.cache)).await {
        Ok(Ok(cache)) if cache.is_available() => match cache.examine().await {
            Ok(warnings) => {
                Report::ok("cache", "Redis answers, and takes a write");
                for warning in warnings {
                    report.warn("cache", warning);
                }
            }
            Err(error) => report.fail("cache", &format!("{error}; is it full, or a replica?")),
        },
        Ok(Ok(_)) | Err(_) => report.warn(
            "cache",
            "Redis does not answer. Nothing is lost without it; order status is read from the database meanwhile",
        ),
        Ok(Err(error)) => report.fail("cache", &error.to_string()),
    }
}
