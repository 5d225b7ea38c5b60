//! `millpond parked`: what nobody could handle, in groups and one by one; replay, stop and discard.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use super::ops_client::{Client, OpsArgs, complain_of_silent, encoded, number, text};
use super::say;
use crate::cli::{GroupArgs, ParkedVerb, SelectedArgs};
use crate::settings::Settings;

const NONE_IS_OPEN: &str = "No such message is parked and open: `millpond parked list` shows what is.";

/// Exit status 1 where nothing was there to be replayed, stopped or discarded.
pub(crate) async fn run(settings: &Settings, args: &OpsArgs, what: &ParkedVerb) -> anyhow::Result<ExitCode> {
    let client = Client::new(settings, args)?;
    match what {
        ParkedVerb::List { group, messages: false, limit, .. } => {
            let answer = client.get(&format!("/v1/parked?limit={limit}{}", query(group))).await?;
            list(args, &answer, "groups", "Nothing is parked.", show_group);
        }
        ParkedVerb::List { group, state, after, limit, .. } => {
            let state = Some(state.join(",")).filter(|states| !states.is_empty());
            let page = [pair("state", state.as_deref()), pair("after", after.as_deref())].concat();
            let path = format!("/v1/parked/messages?limit={limit}{}{page}", query(group));
            list(args, &client.get(&path).await?, "messages", "There is no such message.", show_member);
        }
        ParkedVerb::Show { queue, message_id } => {
            let answer = client.get(&format!("/v1/parked/{}/{}", encoded(queue), encoded(message_id))).await?;
            if args.json { say(&answer.to_string()) } else { show(&answer) }
        }
        ParkedVerb::Replay { selected, rate } => {
            let body = json!({"select": selection(selected), "per_second": rate});
            let answer = client.send(Method::POST, "/v1/parked/replay", Some(body)).await?;
            let done = "will go back to their home queue; `millpond parked list` follows them";
            return Ok(told(args, &answer, done, NONE_IS_OPEN));
        }
        ParkedVerb::Stop { selected } => {
            let body = json!({"select": selection(selected)});
            let answer = client.send(Method::POST, "/v1/parked/stop", Some(body)).await?;
            let none = "No such message is on its way into a replay: `millpond parked list` shows what is.";
            return Ok(told(args, &answer, "are open again, and are not replayed", none));
        }
        ParkedVerb::Discard { selected, because } => {
            let body = json!({"select": selection(selected), "reason": because});
            let answer = client.send(Method::POST, "/v1/parked/discard", Some(body)).await?;
            return Ok(told(args, &answer, "are discarded", NONE_IS_OPEN));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what `answer` has under `name`, or says that it has `nothing`.
fn list(args: &OpsArgs, answer: &Value, name: &str, nothing: &str, show: impl Fn(&Value)) {
    if args.json {
        say(&answer.to_string());
        return;
    }
    let rows = answer[name].as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() && answer["silent"].as_array().is_some_and(Vec::is_empty) {
        say(nothing);
    }
    rows.iter().for_each(show);
    if let Some(next) = answer["next"].as_str() {
        say(&format!("There are more: --after {next}"));
    }
    complain_of_silent(answer);
}

fn query(group: &GroupArgs) -> String {
    let named = [("queue", &group.queue), ("kind", &group.kind), ("reason", &group.reason)];
    named.map(|(name, value)| pair(name, value.as_deref())).concat()
}

/// A part of a query; nothing where there is no value.
fn pair(name: &str, value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!("&{name}={}", encoded(value)))
}

fn selection(selected: &SelectedArgs) -> Value {
    let SelectedArgs { one_queue, message_id, group, all } = selected;
    let queue = one_queue.as_ref().or(group.queue.as_ref());
    json!({"queue": queue, "message_id": message_id, "kind": group.kind, "reason": group.reason, "all": all})
}

fn told(args: &OpsArgs, answer: &Value, what: &str, none: &str) -> ExitCode {
    let messages = answer["messages"].as_u64().unwrap_or(0);
    if args.json {
        say(&answer.to_string());
    } else if messages == 0 {
        say(none);
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

fn show_member(member: &Value) {
    let of = |field: &str| text(&member[field]);
    say(&format!("{}  {}  {}", of("queue"), of("message_id"), of("kind")));
    say(&format!("  {}: {}", of("state"), of("reason")));
    if let Some(note) = member["note"].as_str() {
        say(&format!("  {note}"));
    }
    say(&format!(
        "  parked {} times, first {}, last {}; replayed {} times",
        number(&member["times"]),
        of("first_parked_at"),
        of("last_parked_at"),
        number(&member["replays"]),
    ));
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
