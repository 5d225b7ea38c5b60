//! `millpond queues`: what waits, and why; `pause` and `resume`.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use super::ops_client::{Client, OpsArgs, complain_of_silent, encoded, number, text};
use super::say;
use crate::cli::QueuesVerb;
use crate::settings::Settings;

pub(crate) async fn run(settings: &Settings, args: &OpsArgs, what: Option<&QueuesVerb>) -> anyhow::Result<ExitCode> {
    let client = Client::new(settings, args)?;
    match what {
        None => {
            let answer = client.get("/v1/queues").await?;
            if args.json {
                say(&answer.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            answer["queues"].as_array().into_iter().flatten().for_each(show);
            show_unrouted(&answer["unrouted"]);
            complain_of_silent(&answer);
        }
        Some(QueuesVerb::Pause { queue, reason }) => {
            let path = format!("/v1/queues/{}/pause", encoded(queue));
            let answer = client.send(Method::POST, &path, Some(json!({"reason": reason}))).await?;
            told(args, &answer, |queue| {
                let by = text(&answer["paused"]["by"]);
                let since = text(&answer["paused"]["since"]);
                match answer["changed"].as_bool() {
                    Some(true) => format!(
                        "{queue} is paused, across restarts: its workers finish what is in hand and take nothing more. What \
                         comes in waits."
                    ),
                    _ => format!("{queue} was paused already, by {by} since {since}."),
                }
            });
        }
        Some(QueuesVerb::Resume { queue, reason }) => {
            let path = format!("/v1/queues/{}/resume", encoded(queue));
            let answer = client.send(Method::POST, &path, Some(json!({"reason": reason}))).await?;
            told(args, &answer, |queue| match answer["changed"].as_bool() {
                Some(true) => format!("{queue} is resumed: its workers take up again within about a second."),
                _ => format!("{queue} was not paused."),
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(args: &OpsArgs, answer: &Value, words: impl FnOnce(&str) -> String) {
    if args.json { say(&answer.to_string()) } else { say(&words(text(&answer["queue"]))) }
}

fn show(queue: &Value) {
    say(text(&queue["queue"]));
    say(&format!("  {}", text(&queue["sentence"])));
    let of = |field: &str| number(&queue[field]);
    say(&format!(
        "  ready {}, in hand {}, retrying {}, parked {} (and {} in the table), oldest {}{} s",
        of("ready"),
        of("in_hand"),
        of("retrying"),
        of("parked"),
        of("parked_rows"),
        if queue["oldest_at_least"] == true { "at least " } else { "" },
        of("oldest_s"),
    ));
    say(&format!(
        "  in {}/s, out {}/s, consumers {}, workers heard of {}, drain {}",
        of("in_per_s"),
        of("out_per_s"),
        of("consumers"),
        of("workers"),
        drain(&queue["drain"]),
    ));
    if queue["pause_known"] == false {
        say("  whether it is paused is unknown: its database does not answer");
    } else if queue["paused"].is_object() && queue["paused_workers"] != queue["workers"] {
        say("  some of its workers still finish what is in hand");
    }
    if let Some(reason) = queue["paused"]["reason"].as_str() {
        say(&format!("  paused because: {reason}"));
    }
}

fn show_unrouted(unrouted: &Value) {
    let of = |field: &str| number(&unrouted[field]);
    say(text(&unrouted["queue"]));
    say(&format!("  what no queue wanted: ready {}, and {} in the table", of("ready"), of("parked_rows")));
}

fn drain(drain: &Value) -> String {
    match text(&drain["state"]) {
        "in" => format!("in {} s", number(&drain["seconds"])),
        state => state.to_owned(),
    }
}
