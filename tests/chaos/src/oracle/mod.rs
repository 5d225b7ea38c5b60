//! The oracle: what the harness knows, held against what a shop left behind. It runs outside of the system, when
//! everything has come to rest, and trusts no counter of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

/// Everything that the oracle may look at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The journals of the load's generators.
    pub journals: Vec<PathBuf>,
    /// The URL of each database, by the name that [`Region::database`] uses.
    pub databases: BTreeMap<String, String>,
    /// The database, of those, that holds what analytics counts.
    pub analytics: String,
    /// The regions of the shop.
    pub regions: Vec<Region>,
    /// The broker, with its virtual host.
    pub broker_url: String,
    /// Its management API, with user and password.
    pub broker_api: String,
    /// Redis.
    pub redis_url: String,
    /// In front of every key in it.
    pub redis_prefix: String,
    /// Every poisoned message that was put into a queue, and nothing else may be parked.
    pub poison: Vec<Poison>,
}

/// A region of the shop.
#[derive(Debug, Clone)]
pub struct Region {
    /// Its name, which its checkout queue carries.
    pub name: String,
    /// Its permanent number, a part of every order's id.
    pub number: u16,
    /// Which of the databases is its own.
    pub database: String,
}

/// A message that was put into a queue to be parked.
#[derive(Debug, Clone, Serialize)]
pub struct Poison {
    /// The queue that it went to.
    pub queue: String,
    /// Its AMQP `message_id`.
    pub message_id: String,
    /// What is wrong with it.
    pub kind: String,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// Broken promises; empty where all were kept.
    pub findings: Vec<Finding>,
    /// Figures by name: accepted, confirmed, lost …
    pub counts: BTreeMap<String, u64>,
}

/// A broken promise.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Which guarantee, `a` to `g`.
    pub guarantee: char,
    /// What was found, in a sentence.
    pub text: String,
}

/// Why no verdict can be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A journal can't be read.
    #[error(transparent)]
    Journal(#[from] capacity::ClaimsError),
    /// A database can't be read.
    #[error("the database can't be read")]
    Database(#[from] sea_orm::DbErr),
    /// Anything else, with what was being done.
    #[error("the evidence can't be read")]
    Other(#[from] anyhow::Error),
}

/// Judges a shop that has come to rest.
///
/// # Errors
/// Where the evidence can't be read.
pub async fn judge(evidence: &Evidence) -> Result<Verdict, Error> {
    let mut config = store::Config::default();
    config.database.clear();
    for (name, url) in &evidence.databases {
        config.database.insert(name.clone(), store::DatabaseConfig::at(url.clone()));
    }
    let databases = store::Databases::open(&config).map_err(anyhow::Error::from)?;
    let mut verdict = Verdict::default();
    for journal in &evidence.journals {
        let claims = capacity::Claims::read(journal)?;
        let found = capacity::verify(&claims, &databases).await?;
        for (guarantee, name, count) in [
            ('a', "lost", found.lost),
            ('b', "oversold", found.oversold),
            ('c', "duplicated", found.duplicated),
            ('d', "unexpected", found.unexpected),
        ] {
            *verdict.counts.entry(name.to_owned()).or_default() += count;
            if count > 0 {
                let text = format!("{name}: {count} in {}", journal.display());
                verdict.findings.push(Finding { guarantee, text });
            }
        }
        *verdict.counts.entry("accepted".to_owned()).or_default() += found.accepted;
    }
    databases.close().await;
    Ok(verdict)
}
