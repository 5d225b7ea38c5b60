//! One configuration for every role: a commented TOML as the default, then a file, the environment, the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use config::{Environment, File, FileFormat};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// Every setting with its default and what it means. It is the lowest layer, and what `millpond config` prints.
pub(crate) const DEFAULT: &str = include_str!("default.toml");

/// `MILLPOND__HTTP__BIND` sets `http.bind`.
const ENVIRONMENT: &str = "MILLPOND";
const SEPARATOR: &str = "__";

/// What all roles together are told. Each crate owns its part.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where relative paths begin.
    pub(crate) data: PathBuf,
    pub(crate) token_key_file: PathBuf,
    pub(crate) runtime: crate::runtime::Config,
    pub(crate) log: service::telemetry::Config,
    pub(crate) stop: service::SupervisorConfig,
    pub(crate) http: service::http::Config,
    pub(crate) metrics: service::metrics::Config,
    pub(crate) broker: BrokerSettings,
    pub(crate) store: store::Config,
    /// One for each database and process.
    pub(crate) breaker: worker::BreakerConfig,
    pub(crate) governor: worker::GovernorConfig,
    /// How workers follow pauses.
    pub(crate) pause: worker::PauseConfig,
    pub(crate) cache: cache::Config,
    pub(crate) ingress: ingress::Config,
    pub(crate) storefront: storefront::Config,
    pub(crate) checkout: checkout::Config,
    pub(crate) relay: relay::Config,
    pub(crate) analytics: analytics::Config,
    pub(crate) invalidation: invalidation::Config,
    pub(crate) parker: parker::Config,
    pub(crate) ops: ops::Config,
}

/// Which brokers, and the limits on their use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrokerSettings {
    /// For orders and what follows from them.
    pub(crate) orders: SecretString,
    /// For page events; empty: the same broker, on connections of its own.
    pub(crate) events: SecretString,
    /// How often the queue of unroutable messages is looked at, seconds.
    pub(crate) unrouted_check_s: u64,
    /// How often depths of queues are looked at for `/metrics`, ms.
    pub(crate) depths_ms: u64,
    pub(crate) embedded: broker_embedded::Config,
    pub(crate) rabbit: broker_rabbit::Config,
}

impl Settings {
    /// Reads every layer.
    ///
    /// # Errors
    /// Names the setting and says what to do; nothing was started.
    pub(crate) fn load(file: Option<&Path>, set: &[String]) -> anyhow::Result<Self> {
        let environment =
            Environment::with_prefix(ENVIRONMENT).prefix_separator(SEPARATOR).separator(SEPARATOR).try_parsing(true);
        Self::read(file, Some(environment), set)
    }

    /// Reads the defaults and `set` alone, for what must not touch the shop that a file or the environment describes.
    ///
    /// # Errors
    /// Those of [`Settings::load`].
    pub(crate) fn apart(set: &[String]) -> anyhow::Result<Self> {
        Self::read(None, None, set)
    }

    fn read(file: Option<&Path>, environment: Option<Environment>, set: &[String]) -> anyhow::Result<Self> {
        let written = match file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("the configuration {} can't be read", path.display()))?,
            None => String::new(),
        };
        let named = file.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
        let written: toml::Table = toml::from_str(&written).with_context(|| format!("{named} is not valid TOML"))?;
        let mut builder =
            config::Config::builder().add_source(source(&default_below(&written)?)?).add_source(source(&written)?);
        if let Some(environment) = environment {
            builder = builder.add_source(environment);
        }
        for setting in set {
            let (key, value) = setting.split_once('=').with_context(|| {
                format!("--set {setting}: write it as KEY=VALUE, for example --set http.bind=0.0.0.0:8080")
            })?;
            builder = builder
                .set_override(key, value_of(value))
                .with_context(|| format!("--set {setting}: {key:?} is not the path of a setting"))?;
        }
        let settings: Self = builder
            .build()
            .and_then(config::Config::try_deserialize)
            .context("the configuration is not valid (`millpond config` prints every setting)")?;
        settings.checked()
    }

    fn checked(mut self) -> anyhow::Result<Self> {
        self.runtime.check()?;
        self.store.check()?;
        for (name, database) in &mut self.store.database {
            if let Some(path) = database.url.expose_secret().strip_prefix("sqlite:") {
                let path = path.trim_start_matches("//");
                if path.is_empty() {
                    bail!("store.database.{name}.url: sqlite: needs the name of a file, such as sqlite:millpond.db");
                }
                database.url = SecretString::from(format!("sqlite:{}", self.data.join(path).display()));
            }
        }
        self.ingress.keys_file = self.data.join(&self.ingress.keys_file);
        self.ops.operators_file = self.data.join(&self.ops.operators_file);
        self.token_key_file = self.data.join(&self.token_key_file);
        Ok(self)
    }

    /// The URL of the broker for page events.
    pub(crate) fn events_url(&self) -> &SecretString {
        if self.broker.events.expose_secret().is_empty() { &self.broker.orders } else { &self.broker.events }
    }

    /// Whether orders and page events go to one server.
    pub(crate) fn one_broker(&self) -> bool {
        self.events_url().expose_secret() == self.broker.orders.expose_secret()
    }

    /// The address of a server for `/metrics` alone; none where they are served on `http.bind`, or not at all.
    ///
    /// # Errors
    /// Where `metrics.bind` is no address.
    pub(crate) fn metrics_bind(&self) -> anyhow::Result<Option<SocketAddr>> {
        let bind = &self.metrics.bind;
        if bind.is_empty() || !self.metrics.enabled {
            return Ok(None);
        }
        let address = bind.parse().with_context(|| {
            format!("metrics.bind = {bind:?}: write an address and a port, as in 127.0.0.1:9464, or leave it empty")
        })?;
        Ok(Some(address))
    }

    /// Makes the folder for what this process keeps itself.
    ///
    /// # Errors
    /// The file system's, with the folder's name.
    pub(crate) fn prepare_data(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.data)
            .with_context(|| format!("data = {:?}: the folder can't be made", self.data.display()))
    }
}

fn source(table: &toml::Table) -> anyhow::Result<File<config::FileSourceString, FileFormat>> {
    Ok(File::from_str(&toml::to_string(table)?, FileFormat::Toml))
}

/// The defaults below what the file says. A file that names databases names all of them: the default one would else stay
/// beside them, and be migrated.
fn default_below(written: &toml::Table) -> anyhow::Result<toml::Table> {
    let mut table: toml::Table = toml::from_str(DEFAULT).context("the built-in configuration")?;
    let names_databases = written.get("store").and_then(|store| store.get("database")).is_some();
    if names_databases && let Some(store) = table.get_mut("store").and_then(toml::Value::as_table_mut) {
        store.remove("database");
    }
    Ok(table)
}

/// A value of the command line, with the type that TOML would give it; anything else is text.
fn value_of(text: &str) -> config::Value {
    let parsed: Option<config::Value> =
        toml::from_str::<toml::Table>(&format!("v = {text}")).ok().and_then(|mut table| match table.remove("v")? {
            toml::Value::Boolean(value) => Some(value.into()),
            toml::Value::Integer(value) => Some(value.into()),
            toml::Value::Float(value) => Some(value.into()),
            toml::Value::Array(values) => {
                let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<String>>>().map(Into::into)
            }
            _ => None,
        });
    parsed.unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> anyhow::Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::load(Some(file.path()), &[])
    }

    fn refusal(text: &str) -> String {
        format!("{:#}", written(text).unwrap_err())
    }

    #[test]
    fn the_built_in_configuration_is_valid_and_the_command_line_overrides_it() {
        let settings = Settings::load(None, &["http.bind=127.0.0.1:9999".to_owned()]).unwrap();
        assert_eq!(settings.http.bind.port(), 9_999);
    }

    #[test]
    fn an_unknown_setting_stops_the_start_by_its_name() {
        assert!(refusal("[http]\nbnid = \"127.0.0.1:1\"").contains("bnid"));
        assert!(refusal("colour = 1").contains("colour"));
        assert!(refusal("[store.database.main]\nurl = \"mysql://x\"").contains("store.database.main.url"));
        assert!(refusal("this is not toml").contains("not valid TOML"));
    }

    #[test]
    fn a_file_that_names_databases_names_all_of_them() {
        let eu = "[[store.region]]\nname = \"eu\"\nnumber = 7\ndatabase = \"eu\"\n[store.database.eu]\nurl = \"sqlite:eu.db\"\n";
        assert!(refusal(eu).contains("store.analytics"));
        let settings = written(&format!("[store]\nanalytics = \"eu\"\n{eu}")).unwrap();
        assert_eq!(settings.store.database.keys().collect::<Vec<_>>(), ["eu"]);
    }

    #[test]
    fn relative_files_begin_at_the_data_folder() {
        let settings = written("data = \"/var/lib/millpond\"").unwrap();
        let database = settings.store.database["main"].url.expose_secret();
        assert_eq!(database, "sqlite:/var/lib/millpond/millpond.db");
        assert!(settings.ingress.keys_file.starts_with("/var/lib/millpond"));
    }

    /// A part that is built without a file, as in a test of its crate, and one that is built from the file are the same.
    #[test]
    fn every_value_of_the_built_in_configuration_is_its_crates_own_default() {
        fn same<T: Default + std::fmt::Debug>(written: &T) {
            assert_eq!(format!("{written:#?}"), format!("{:#?}", T::default()));
        }
        // As written: loading it turns relative paths into paths below the data folder.
        let settings: Settings = toml::from_str(DEFAULT).unwrap();
        same(&settings.runtime);
        same(&settings.log);
        same(&settings.stop);
        same(&settings.http);
        same(&settings.metrics);
        same(&settings.broker.embedded);
        same(&settings.broker.rabbit);
        same(&settings.store);
        same(&settings.breaker);
        same(&settings.governor);
        same(&settings.pause);
        same(&settings.cache);
        same(&settings.ingress);
        same(&settings.storefront);
        same(&settings.checkout);
        same(&settings.relay);
        same(&settings.analytics);
        same(&settings.invalidation);
        same(&settings.parker);
        same(&settings.ops);
        // Debug hides these two.
        let own = store::Config::default().database["main"].url.clone();
        assert_eq!(settings.store.database["main"].url.expose_secret(), own.expose_secret());
        assert_eq!(settings.cache.url.expose_secret(), cache::Config::default().url.expose_secret());
    }

    /// Serde names every field of a table when it meets one that it does not know; each must stand in the default.
    #[test]
    fn every_setting_stands_in_the_built_in_configuration() {
        let mut tables = vec![(String::new(), toml::Value::Table(toml::from_str(DEFAULT).unwrap()))];
        while let Some((path, value)) = tables.pop() {
            let Some(table) = value.as_table() else { continue };
            // What these hold has names of the shop's own choice.
            if !["store.database", "storefront.shop.keys", "invalidation.cdn"].contains(&path.as_str()) {
                let header = if path.is_empty() { String::new() } else { format!("[{path}]\n") };
                let error = refusal(&format!("{header}no_such_setting = 1"));
                let (_, rest) = error.split_once("unknown field `no_such_setting`, expected ").expect(&error);
                let fields = rest.split(" for key ").next().unwrap_or_default();
                for field in fields.split('`').skip(1).step_by(2) {
                    assert!(table.contains_key(field), "{path}.{field} is not in default.toml: {error}");
                }
            }
            let below = |(name, value): (&String, &toml::Value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                (path, value.clone())
            };
            tables.extend(table.iter().map(below));
        }
    }
}
