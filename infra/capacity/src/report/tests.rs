use super::*;
use crate::live::Counts;

fn look(ms: u64, stored: u64) -> Look {
    Look { at: Duration::from_millis(ms), stored: Some(stored), ..Look::default() }
}

/// Ten orders accepted in each of two seconds; the database takes five a second.
fn report(looks: Vec<Look>, drained_in: Option<Duration>) -> Report {
    let counts = Counts { planned: 11, sent: 10, not_sent: 1, accepted: 10, orders_accepted: 10, ..Counts::default() };
    let second = Second { counts, ..Second::default() };
    let all = Counts { planned: 22, sent: 20, not_sent: 2, accepted: 20, orders_accepted: 20, ..Counts::default() };
    let snapshot = Snapshot { counts: all, seconds: vec![second, second], ..Snapshot::default() };
    let observed = Observed { looks, drained_in, confirmed: Some(20) };
    Report::new(Described::default(), snapshot, Duration::from_secs(2), false, &observed)
}

#[test]
fn the_json_has_the_fields_that_scripts_read() {
    let json: serde_json::Value = serde_json::from_str(&report(vec![], None).to_json()).unwrap();
    let numbers = [
        "planned",
        "sent",
        "not_sent",
        "accepted",
        "unanswered",
        "accepted_per_s",
        "duration_s",
        "events_accepted",
        "events_accepted_per_s",
        "orders_accepted",
        "connections",
        "confirmed",
    ];
    for field in numbers {
        assert!(json[field].is_number(), "{field} in {json}");
    }
    assert!(json["refused"].is_object() && json["seconds"].is_array());
    for unseen in ["latency_ms", "stored", "drained_in_s", "confirmed_per_s"] {
        assert!(json.as_object().unwrap().contains_key(unseen) && json[unseen].is_null(), "{unseen} in {json}");
    }
    let latency = Latency { p50_us: 1_500, ..Latency::default() };
    let json = serde_json::to_value(Milliseconds::from(latency)).unwrap();
    assert_eq!(json["p50"], 1.5);
    for percentile in ["p90", "p99", "p999", "max"] {
        assert!(json[percentile].is_number(), "{percentile}");
    }
}

#[test]
fn looks_become_rates_and_depths_of_the_seconds_between_them() {
    let looks = vec![look(0, 0), look(1_003, 5), look(2_004, 10), look(3_002, 15), look(4_000, 20)];
    let report = report(looks, Some(Duration::from_secs(2)));
    let queue: Vec<_> = report.seconds.iter().map(|point| point.queue).collect();
    assert_eq!(queue, [Some(5), Some(10), Some(5), Some(0), None], "accepted minus stored, also while it drains");
    let rates: Vec<_> = report.seconds.iter().filter_map(|point| point.stored_per_s).collect();
    assert!(rates.len() == 4 && rates.iter().all(|rate| (4.9..5.1).contains(rate)), "{rates:?}");
    assert_eq!((report.stored, report.drained_in_s, report.confirmed_per_s), (Some(20), Some(2.0), Some(5.0)));
    assert!((report.accepted_per_s - 10.0).abs() < 0.01);
}

#[test]
fn what_the_broker_says_of_its_depth_stands_before_the_difference() {
    let by_broker = Look { orders_waiting: Some(3), ..look(1_000, 5) };
    assert_eq!(report(vec![look(0, 0), by_broker], None).seconds[0].queue, Some(3));
}

#[test]
fn a_table_says_what_was_not_seen_and_not_sent() {
    let table = report(vec![], None).table();
    assert!(table.contains("sent / not sent  20 / 2"), "{table}");
    assert!(!table.contains("drained in"), "{table}");
    let late = report(vec![look(0, 0), look(1_000, 5)], None).table();
    assert!(late.contains("drained in       not within the time"), "{late}");
}
