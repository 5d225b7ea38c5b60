//! `millpond audit`: who did what.

use std::process::ExitCode;

use super::ops_client::{Client, OpsArgs, complain_of_silent, encoded, text};
use super::say;
use crate::settings::Settings;

pub(crate) async fn run(
    settings: &Settings,
    args: &OpsArgs,
    limit: u64,
    before: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let before = before.map_or_else(String::new, |time| format!("&before={}", encoded(time)));
    let answer = Client::new(settings, args)?.get(&format!("/v1/audit?limit={limit}{before}")).await?;
    if args.json {
        say(&answer.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for entry in answer["entries"].as_array().into_iter().flatten() {
        let of = |field: &str| text(&entry[field]);
        say(&format!("{}  {}  {} {} {}", of("at"), of("operator"), of("action"), of("target"), entry["detail"]));
    }
    complain_of_silent(&answer);
    Ok(ExitCode::SUCCESS)
}
