//! `millpond config`: the commented default, and a check.

use std::process::ExitCode;

use super::say;
use crate::cli::ConfigVerb;
use crate::settings::{DEFAULT, Settings};

pub(crate) fn run(
    what: Option<&ConfigVerb>,
    settings: impl FnOnce() -> anyhow::Result<Settings>,
) -> anyhow::Result<ExitCode> {
    match what {
        None | Some(ConfigVerb::Default) => say(DEFAULT.trim_end()),
        Some(ConfigVerb::Check) => {
            settings()?;
            say("The configuration is valid. `millpond doctor` says whether its parts can be reached.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
