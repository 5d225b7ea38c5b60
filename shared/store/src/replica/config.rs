//! Settings of the use of replicas.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use crate::error::Error;

/// How the read replicas of a database are watched and used: `[store.database.NAME.replication]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationConfig {
    /// A replica that lacks what was committed longer ago than this gets no reads, ms. Three times `look_ms` or more: between
    /// two looks nothing is known, so a replica that is not late at all looks up to twice `look_ms` behind.
    pub max_lag_ms: u64,
    /// How often the positions of primary and replica are looked at, ms. 10 or more.
    pub look_ms: u64,
    /// How long either may take to say it, ms; then nothing is known of the primary, and the replica is away.
    pub look_timeout_ms: u64,
    /// How long a list that has to show a change waits for a replica to replay it before the primary is asked, ms, up to a minute. 0:
    /// not at all.
    pub catch_up_ms: u64,
    /// Connections of this process to one replica, 1 to 1,000; one more is for looks.
    pub max_connections: u32,
    /// How long a read waits for its turn at a replica and for a connection before it goes to the primary, ms.
    pub acquire_timeout_ms: u64,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self {
            max_lag_ms: 5_000,
            look_ms: 500,
            look_timeout_ms: 1_000,
            catch_up_ms: 50,
            max_connections: 4,
            acquire_timeout_ms: 500,
        }
    }
}

impl ReplicationConfig {
    pub(super) fn max_lag(&self) -> Duration {
        Duration::from_millis(self.max_lag_ms)
    }

    pub(super) fn look(&self) -> Duration {
        Duration::from_millis(self.look_ms)
    }

    pub(crate) fn look_timeout(&self) -> Duration {
        Duration::from_millis(self.look_timeout_ms)
    }

    pub(crate) fn catch_up(&self) -> Duration {
        Duration::from_millis(self.catch_up_ms)
    }

    pub(crate) fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.acquire_timeout_ms)
    }

    /// Checks what serde can't; `setting` is where this stands.
    pub(crate) fn check(&self, setting: &str) -> Result<(), Error> {
        let times = [
            ("max_lag_ms", self.max_lag_ms),
            ("look_ms", self.look_ms),
            ("look_timeout_ms", self.look_timeout_ms),
            ("acquire_timeout_ms", self.acquire_timeout_ms),
        ];
        if let Some((time, _)) = times.iter().find(|(_, ms)| !(10..=3_600_000).contains(ms)) {
            return Err(Error::config(format!("{setting}.{time} must be 10 to 3600000, an hour")));
        }
        if self.max_lag_ms < 3 * self.look_ms {
            let (least, look) = (3 * self.look_ms, self.look_ms);
            return Err(Error::config(format!(
                "{setting}.max_lag_ms must be {least} or more, three times look_ms = {look}: a replica that is not late at all \
                 looks up to twice look_ms behind"
            )));
        }
        if self.catch_up_ms > 60_000 {
            return Err(Error::config(format!("{setting}.catch_up_ms must be 0 to 60000, a minute")));
        }
        if !(1..=1_000).contains(&self.max_connections) {
            return Err(Error::config(format!("{setting}.max_connections must be 1 to 1000")));
        }
        Ok(())
    }
}

/// A list of URLs, or one text with blanks between them, as an environment variable holds it.
pub(crate) fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Urls {
        List(Vec<SecretString>),
        Text(String),
    }
    Ok(match Urls::deserialize(deserializer)? {
        Urls::List(urls) => urls,
        Urls::Text(text) => text.split_whitespace().map(SecretString::from).collect(),
    })
}
