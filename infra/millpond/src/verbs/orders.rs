//! `millpond orders find`: an order by id, key or the shop's own number, with what became of it.

use std::process::ExitCode;

use serde_json::Value;

use super::ops_client::{Client, OpsArgs, complain_of_silent, encoded, number, text};
use super::say;
use crate::cli::OrdersVerb;
use crate::settings::Settings;

/// Exit status 1 where nothing was found.
pub(crate) async fn run(settings: &Settings, args: &OpsArgs, what: &OrdersVerb) -> anyhow::Result<ExitCode> {
    let client = Client::new(settings, args)?;
    let OrdersVerb::Find { find, show_customer } = what;
    let path = format!("/v1/orders?find={}&show_customer={show_customer}", encoded(find));
    let answer = client.get(&path).await?;
    let found = answer["orders"].as_array().is_some_and(|orders| !orders.is_empty());
    let code = if found { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        say(&answer.to_string());
        return Ok(code);
    }
    answer["orders"].as_array().into_iter().flatten().for_each(show);
    if !found {
        answer["missing"].as_array().into_iter().flatten().for_each(show_missing);
        say(text(&answer["advice"]));
    }
    complain_of_silent(&answer);
    Ok(code)
}

fn show(order: &Value) {
    let of = |field: &str| text(&order[field]);
    let reason = if order["reason"].is_null() { String::new() } else { format!(", because {}", order["reason"]) };
    say(&format!("{}: {}{reason}", of("order_id"), of("state")));
    say(&format!("  market {}, region {}, database {}", of("market"), of("region"), of("database")));
    let or_none = |field: &str| order[field].as_str().unwrap_or("none");
    say(&format!("  key {}, reference {}, customer {}", of("key"), or_none("reference"), or_none("customer")));
    for line in order["lines"].as_array().into_iter().flatten() {
        let (quantity, price) = (number(&line["quantity"]), number(&line["unit_price_minor"]));
        say(&format!("  {quantity} x {} at {price}", text(&line["sku"])));
    }
    let amount = |field: &str| number(&order[field]);
    say(&format!(
        "  shipping {}, tax {}, discount {}, total {} (minor units of {})",
        amount("shipping_minor"),
        amount("tax_minor"),
        amount("discount_minor"),
        amount("total_minor"),
        of("currency"),
    ));
    show_moments(&order["timeline"]);
    say(match of("outbox") {
        "waiting" => "  its events wait in the outbox for the relay",
        "told" => "  no event of it waits in the outbox",
        _ => "  so much waits in the outbox that it is unknown whether an event of it does",
    });
}

fn show_missing(missing: &Value) {
    let (id, queue) = (text(&missing["order_id"]), text(&missing["queue"]));
    if missing["parked"].as_array().is_some_and(|parked| !parked.is_empty()) {
        say(&format!("{id}: not stored, and parked"));
    } else {
        say(&format!("{id}: not stored; it would wait in {queue} (ready {})", number(&missing["ready"])));
    }
    show_moments(&missing["parked"]);
}

fn show_moments(moments: &Value) {
    for moment in moments.as_array().into_iter().flatten() {
        say(&format!("  {}  {}", text(&moment["at"]), text(&moment["what"])));
        if let (Some(queue), Some(message)) = (moment["queue"].as_str(), moment["message_id"].as_str()) {
            say(&format!("    as {queue} {message}"));
        }
    }
}
