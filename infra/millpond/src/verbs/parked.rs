//! `millpond parked`: what nobody could handle, in groups and one by one; replay and discard.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use super::ops_client::{Client, OpsArgs, complain_of_silent, encoded, number, text};
use super::say;
use crate::cli::{GroupArgs, ParkedVerb, SelectedArgs};
use crate::settings::Settings;

/// Exit status 1 where nothing was there to be replayed or discarded.
pub(crate) async fn run(settings: &Settings, args: &OpsArgs, what: &ParkedVerb) -> anyhow::Result<ExitCode> {
    let client = Client::new(settings, args)?;
    match what {
        ParkedVerb::List { group, limit } => {
            let answer = client.get(&format!("/v1/parked?limit={limit}{}", query(group))).await?;
            if args.json {
                say(&answer.to_string());
                return Ok(ExitCode::SUCCESS);
            }
            let groups = answer["groups"].as_array().map_or(&[][..], Vec::as_slice);
            if groups.is_empty() && answer["silent"].as_array().is_some_and(Vec::is_empty) {
                say("Nothing is parked.");
            }
            groups.iter().for_each(show_group);
            complain_of_silent(&answer);
        }
        ParkedVerb::Show { queue, message_id } => {
            let answer = client.get(&format!("/v1/parked/{}/{}", encoded(queue), encoded(message_id))).await?;
            if args.json { say(&answer.to_string()) } else { show(&answer) }
        }
        ParkedVerb::Replay { selected, rate } => {
            let body = json!({"select": selection(selected), "per_second": rate});
            let answer = client.send(Method::POST, "/v1/parked/replay", Some(body)).await?;
            return Ok(told(args, &answer, "will go back to their home queue; `millpond parked list` follows them"));
        }
        ParkedVerb::Discard { selected, because } => {
            let body = json!({"select": selection(selected), "reason": because});
            let answer = client.send(Method::POST, "/v1/parked/discard", Some(body)).await?;
            return Ok(told(args, &answer, "are discarded"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn query(group: &GroupArgs) -> String {
    let named = [("queue", &group.queue), ("kind", &group.kind), ("reason", &group.reason)];
    let given = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let pairs: Vec<String> = given.map(|(name, value)| format!("&{name}={}", encoded(value))).collect();
    pairs.concat()
}

fn selection(selected: &SelectedArgs) -> Value {
    let SelectedArgs { one_queue, message_id, group, all } = selected;
    let queue = one_queue.as_ref().or(group.queue.as_ref());
    json!({"queue": queue, "message_id": message_id, "kind": group.kind, "reason": group.reason, "all": all})
}

fn told(args: &OpsArgs, answer: &Value, what: &str) -> ExitCode {
    let messages = answer["messages"].as_u64().unwrap_or(0);
    if args.json {
        say(&answer.to_string());
    } else if messages == 0 {
        say("No such message is parked and open: `millpond parked list` shows what is.");
    } else {
        say(&format!("{messages} messages {what}."));
    }
    if messages == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn show_group(group: &Value) {
    let of = |field: &str| number(&group[field]);
    say(&format!("{}  {}", text(&group["queue"]), text(&group["kind"])));
    say(&format!("  {}", text(&group["reason"])));
    say(&format!(
        "  open {}, to be replayed {}, replayed {}; parked {} times, first {}, last {}",
        of("open"),
        of("replaying"),
        of("replayed"),
        of("times"),
        text(&group["first_parked_at"]),
        text(&group["last_parked_at"]),
    ));
    let sample = &group["sample"];
    if sample.is_object() {
        say(&format!("  such as {}: {}", text(&sample["message_id"]), sample["body"]));
    }
}

fn show(message: &Value) {
    let of = |field: &str| text(&message[field]);
    say(&format!("{}  {}  {}", of("queue"), of("message_id"), of("kind")));
    say(&format!("  {}: {}", of("state"), of("reason")));
    if let Some(note) = message["note"].as_str() {
        say(&format!("  {note}"));
    }
    say(&format!("  parked {} times, replayed {} times", number(&message["times"]), number(&message["replays"])));
    for (field, what) in [
        ("published_at", "published"),
        ("first_parked_at", "parked first"),
        ("last_parked_at", "parked last"),
        ("replayed_at", "replayed"),
        ("ended_at", "ended"),
    ] {
        if let Some(at) = message[field].as_str() {
            say(&format!("  {at}  {what}"));
        }
    }
    say(&format!("  headers {}", message["headers"]));
    say(&format!("  body ({} bytes, {}) {}", number(&message["body_bytes"]), of("content_type"), message["body"]));
}
