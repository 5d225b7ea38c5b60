//! `millpond budget`: what databases are given per second, and setting it while everything runs.

use std::process::ExitCode;

use flow::Budget;
use hyper::Method;
use serde_json::{Value, json};

use super::ops_client::{Client, OpsArgs, complain_of_silent, encoded, text};
use super::say;
use crate::cli::BudgetVerb;
use crate::settings::Settings;

pub(crate) async fn run(settings: &Settings, args: &OpsArgs, what: &BudgetVerb) -> anyhow::Result<ExitCode> {
    let client = Client::new(settings, args)?;
    let answer = match what {
        BudgetVerb::Show => client.get("/v1/databases").await?,
        BudgetVerb::Set { database, budget } => set(&client, database, Some(budget.parse()?)).await?,
        BudgetVerb::Unset { database } => set(&client, database, None).await?,
    };
    if args.json {
        say(&answer.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    match answer["databases"].as_array() {
        Some(all) => all.iter().for_each(show),
        None => show(&answer),
    }
    complain_of_silent(&answer);
    Ok(ExitCode::SUCCESS)
}

async fn set(client: &Client, database: &str, budget: Option<Budget>) -> anyhow::Result<Value> {
    let path = format!("/v1/databases/{}/budget", encoded(database));
    client.send(Method::PUT, &path, Some(json!({"budget": budget}))).await
}

fn show(database: &Value) {
    let (name, budget) = (text(&database["database"]), text(&database["budget"]));
    let configured = text(&database["configured"]);
    say(&match database["written"].as_str() {
        Some(_) => format!("{name}: {budget} (written into the database; the configuration says {configured})"),
        None => format!("{name}: {budget} (by the configuration)"),
    });
    for lease in database["leases"].as_array().into_iter().flatten() {
        let share = lease["share"].as_f64().unwrap_or(0.0) * 100.0;
        say(&format!("  {} holds {share:.0}%", text(&lease["rank"])));
    }
}
