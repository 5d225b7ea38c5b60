//! Which regions there are, and which databases hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flow::Budget;
use model::{RegionName, RegionNumber};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::error::Error;
use crate::replica::{self, ReplicationConfig};

/// The part `[store]` of the configuration. The default is one region, `main`, in a SQLite file of the working directory.
///
/// ```toml
/// [[store.region]]
/// name = "eu"
/// number = 1
/// database = "main"
///
/// [store.database.main]
/// url = "postgres://millpond@db.internal/millpond"
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Regions; at least one. Several may share a database.
    pub region: Vec<RegionConfig>,
    /// Databases by the name that regions call them by.
    pub database: BTreeMap<String, DatabaseConfig>,
    /// The database that holds what analytics counts.
    pub analytics: String,
}

/// A region of the shop.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// What people, queues and routing keys call it.
    pub name: RegionName,
    /// Permanent, 1 to 65,535: it is part of every order id of the region, and is never given to another one.
    pub number: RegionNumber,
    /// The database that holds it, a key of [`Config::database`].
    pub database: String,
}

/// A database and the limits on its use.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:` and the path of a file, or `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// `PostgreSQL`: URLs of its read replicas, each of one server that follows it by streaming; as in `url`. Lists and reports
    /// are read there while they are not too far behind.
    #[serde(deserialize_with = "replica::urls")]
    pub replicas: Vec<SecretString>,
    /// How replicas are watched and used.
    pub replication: ReplicationConfig,
    /// What all processes together may ask of it: `unlimited`, `2000 rows/s`, `100 transactions/s`, or both with a comma
    /// between. Rows are those that batches of checkout and analytics insert, update or delete. The same for every process;
    /// a budget that was written into the database itself wins over it.
    pub budget: Budget,
    /// Connections of this process, 2 to 1,000. `PostgreSQL`: a quarter of them (rounded down, at least one) are for reads
    /// and probes, the rest for transactions. SQLite: one writes, the rest read.
    pub max_connections: u32,
    /// How long to wait for a turn and for a connection of the pool.
    pub acquire_timeout_ms: u64,
    /// `PostgreSQL`: how long one statement may run.
    pub statement_timeout_ms: u64,
    /// `PostgreSQL`: how long a statement may wait for a lock.
    pub lock_timeout_ms: u64,
    /// `PostgreSQL`: how long a transaction may do nothing before the server ends it, and with it its locks.
    pub idle_in_transaction_timeout_ms: u64,
    /// SQLite: how long a statement waits while another process writes.
    pub busy_timeout_ms: u64,
    /// An idle connection is tried before use once it has been idle for this long.
    pub ping_after_idle_ms: u64,
    /// `PostgreSQL`: how long a call waits for its answer, ms; then it fails and its connection is closed. Above
    /// `statement_timeout_ms`, so that a server that can speak gives its own reason.
    pub answer_timeout_ms: u64,
    /// `PostgreSQL`: how long a connection that comes back may take to answer a ping, ms; else it is closed.
    pub release_timeout_ms: u64,
    /// `PostgreSQL`: how long `millpond migrate` waits for another process that migrates: a change of a large table.
    pub migration_lock_timeout_ms: u64,
    /// The longest pause between two looks at a database that is away or not migrated; the first is a twentieth of it.
    pub max_ready_pause_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let name = "main";
        Self {
            region: vec![RegionConfig {
                name: name.parse().expect("lower-case letters are a region name"),
                number: RegionNumber(1),
                database: name.to_owned(),
            }],
            database: BTreeMap::from([(name.to_owned(), DatabaseConfig::default())]),
            analytics: name.to_owned(),
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:millpond.db".into(),
            replicas: Vec::new(),
            replication: ReplicationConfig::default(),
            budget: Budget::UNLIMITED,
            max_connections: 10,
            acquire_timeout_ms: 3_000,
            statement_timeout_ms: 10_000,
            lock_timeout_ms: 2_000,
            idle_in_transaction_timeout_ms: 10_000,
            busy_timeout_ms: 5_000,
            ping_after_idle_ms: 5_000,
            answer_timeout_ms: 15_000,
            release_timeout_ms: 2_000,
            migration_lock_timeout_ms: 600_000,
            max_ready_pause_ms: 5_000,
        }
    }
}

impl DatabaseConfig {
    /// The defaults, with this URL.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: SecretString::from(url.into()), ..Self::default() }
    }

    /// The longest for one call; none for a file, whose writer may take as long as it has work.
    pub(crate) fn answer_within(&self) -> Option<Duration> {
        (self.backend() == Some(Backend::Postgres)).then(|| Duration::from_millis(self.answer_timeout_ms))
    }

    pub(crate) fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.acquire_timeout_ms)
    }

    pub(crate) fn backend(&self) -> Option<Backend> {
        Backend::of(&self.url)
    }

    /// Replicas follow a server; a file has none.
    fn check_replicas(&self, setting: &str, backend: Backend) -> Result<(), Error> {
        if backend == Backend::Sqlite && !self.replicas.is_empty() {
            return Err(Error::config(format!(
                "{setting}.replicas: {setting}.url is a SQLite file, which has no replicas; take them out, or move to \
                 PostgreSQL"
            )));
        }
        if let Some(n) = self.replicas.iter().position(|url| Backend::of(url) != Some(Backend::Postgres)) {
            let n = n + 1;
            return Err(Error::config(format!(
                "{setting}.replicas: number {n} must start with postgres:// (it is not shown here, as it may hold a password)"
            )));
        }
        self.replication.check(&format!("{setting}.replication"))
    }

    fn check(&self, name: &str) -> Result<(), Error> {
        let setting = format!("store.database.{name}");
        let Some(backend) = self.backend() else {
            return Err(Error::config(format!(
                "{setting}.url must start with sqlite: or postgres:// (it is not shown here, as it may hold a password)"
            )));
        };
        if backend == Backend::Sqlite && self.url.expose_secret().contains(":memory:") {
            return Err(Error::config(format!(
                "{setting}.url must name a file: a database in memory is another one for each connection"
            )));
        }
        if !(2..=1_000).contains(&self.max_connections) {
            return Err(Error::config(format!("{setting}.max_connections must be 2 to 1000")));
        }
        let limits = [
            ("acquire_timeout_ms", self.acquire_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
            ("lock_timeout_ms", self.lock_timeout_ms),
            ("idle_in_transaction_timeout_ms", self.idle_in_transaction_timeout_ms),
            ("busy_timeout_ms", self.busy_timeout_ms),
            ("migration_lock_timeout_ms", self.migration_lock_timeout_ms),
            ("max_ready_pause_ms", self.max_ready_pause_ms),
        ];
        match limits.iter().find(|(_, ms)| !(1..=3_600_000).contains(ms)) {
            Some((limit, _)) => Err(Error::config(format!("{setting}.{limit} must be 1 to 3600000, an hour"))),
            None => self.check_replicas(&setting, backend),
        }
    }
}

impl Config {
    /// Checks what serde can't.
    ///
    /// # Errors
    /// [`Error::Config`] with the setting and what it must be.
    pub fn check(&self) -> Result<(), Error> {
        if self.region.is_empty() {
            return Err(Error::config("store.region must name at least one region"));
        }
        let mut names = BTreeSet::new();
        let mut numbers = BTreeMap::new();
        for region in &self.region {
            let RegionConfig { name, number, database } = region;
            if number.0 == 0 {
                return Err(Error::config(format!("store.region {name}: its number must be 1 to 65535")));
            }
            if !names.insert(name) {
                return Err(Error::config(format!("store.region: two regions are called {name}")));
            }
            if let Some(other) = numbers.insert(number, name) {
                return Err(Error::config(format!(
                    "store.region: {other} and {name} both have the number {number}; it is part of their order ids"
                )));
            }
            self.known(&format!("store.region {name}: database"), database)?;
        }
        self.known("store.analytics", &self.analytics)?;
        self.database.iter().try_for_each(|(name, database)| database.check(name))
    }

    fn known(&self, setting: &str, database: &str) -> Result<(), Error> {
        if self.database.contains_key(database) {
            return Ok(());
        }
        let known: Vec<&str> = self.database.keys().map(String::as_str).collect();
        Err(Error::config(format!("{setting} = {database:?} names none of the databases: {}", known.join(", "))))
    }
}

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// `PostgreSQL`.
    Postgres,
    /// SQLite.
    Sqlite,
}

impl Backend {
    /// By the URL's scheme.
    fn of(url: &SecretString) -> Option<Self> {
        let url = url.expose_secret();
        if url.starts_with("sqlite:") {
            Some(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Some(Self::Postgres)
        } else {
            None
        }
    }

    /// SQL for the present by the database's clock: on `PostgreSQL` the start of the transaction, on SQLite of the
    /// statement, to the millisecond.
    pub fn now_sql(self) -> &'static str {
        match self {
            Self::Postgres => "now()",
            Self::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
        }
    }

    /// SQL for the very moment, by the database's clock: for what ends or begins once a lock was waited for, which the start of
    /// the transaction may lie long before.
    pub fn moment_sql(self) -> &'static str {
        match self {
            Self::Postgres => "clock_timestamp()",
            Self::Sqlite => self.now_sql(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_one_region_in_a_file() {
        let config = Config::default();
        config.check().unwrap();
        assert_eq!(config.database["main"].backend(), Some(Backend::Sqlite));
    }

    #[test]
    fn a_wrong_setting_is_refused_by_its_name() {
        let again = |config: &mut Config| {
            let mut again = config.region[0].clone();
            again.name = "eu".parse().unwrap();
            config.region.push(again);
        };
        assert!(error(again).contains("main and eu both have the number 1"));
        assert!(error(|config| config.region[0].number = RegionNumber(0)).contains("1 to 65535"));
        assert!(error(|config| config.region[0].database = "west".to_owned()).contains("\"west\" names none"));
        assert!(error(|config| config.analytics = "west".to_owned()).contains("store.analytics"));
        assert!(error(|config| config.region.clear()).contains("at least one region"));
        let connections = |config: &mut Config| {
            config.database.get_mut("main").unwrap().max_connections = 1;
        };
        assert!(error(connections).contains("store.database.main.max_connections"));
    }

    #[test]
    fn replicas_are_for_postgres_and_are_refused_without_being_shown() {
        let with = |url: &str, replicas: &[&str]| {
            let replicas = replicas.iter().map(|url| SecretString::from(*url)).collect();
            let database = DatabaseConfig { replicas, ..DatabaseConfig::at(url) };
            let mut config = Config::default();
            config.database.insert("main".to_owned(), database);
            config
        };
        let (primary, replica) = ("postgres://u:hunter2@db/shop", "postgres://u:hunter2@db-2/shop");
        with(primary, &[replica]).check().unwrap();
        let refused = |config: Config| config.check().unwrap_err().to_string();
        let text = refused(with("sqlite:shop.db", &[replica]));
        assert!(text.contains("store.database.main.replicas") && text.contains("SQLite"), "{text}");
        let text = refused(with(primary, &[replica, "sqlite:hunter2.db"]));
        assert!(text.contains("number 2") && !text.contains("hunter2"), "{text}");
        let mut hasty = with(primary, &[replica]);
        hasty.database.get_mut("main").unwrap().replication.max_lag_ms = 1_000;
        assert!(refused(hasty).contains("store.database.main.replication.max_lag_ms must be 1500 or more"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_shown() {
        let text = error(|config| {
            config.database.insert("main".to_owned(), DatabaseConfig::at("mysql://root:hunter2@db/shop"));
        });
        assert!(text.contains("store.database.main.url"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!format!("{:?}", DatabaseConfig::at("postgres://u:hunter2@db/shop")).contains("hunter2"));
    }
}
