//! Where log lines go.

use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for a collector.
    Json,
}

/// The log's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `text` or `json`.
    pub format: Format,
    /// Levels per target, in the form of `RUST_LOG`: `info,ingress=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Text,
            // lapin's own reconnects are not used; its warnings repeat what our supervisor says in words.
            filter: "info,lapin=error,sqlx=warn".to_owned(),
        }
    }
}

impl Config {
    /// Whether these settings can work.
    ///
    /// # Errors
    /// [`Error::Filter`].
    pub fn check(&self) -> Result<(), Error> {
        self.filter().map(drop)
    }

    fn filter(&self) -> Result<EnvFilter, Error> {
        EnvFilter::try_new(&self.filter).map_err(|source| Error::Filter { filter: self.filter.clone(), source })
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("the log filter {filter:?} is not valid (write it as in `info,ingress=debug`)")]
    Filter {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A process has one log, and this one has it already.
    #[error("logging was started twice in one process")]
    Twice(#[source] TryInitError),
}

/// Starts logging to standard error; standard output belongs to what a command prints.
///
/// # Errors
/// [`Error::Filter`] for a filter that can't be read, [`Error::Twice`] when the process logs already.
pub fn init(config: &Config) -> Result<(), Error> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(config.filter()?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.format {
        Format::Text => lines.finish().try_init(),
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(Error::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused_and_a_second_start_is_an_error() {
        let wrong = Config { filter: "ingress=loudly".to_owned(), ..Config::default() };
        for error in [wrong.check().unwrap_err(), init(&wrong).unwrap_err()] {
            assert!(error.to_string().contains("ingress=loudly"), "{error}");
        }

        init(&Config::default()).unwrap();
        assert!(matches!(init(&Config::default()), Err(Error::Twice(_))));
    }
}
