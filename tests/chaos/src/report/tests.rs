//! The report of a run that never was.

use std::time::Duration;

use super::*;
use crate::oracle::Guarantee;

fn fault(class: Class, begun_s: f64, ended_s: f64) -> Happened {
    Happened {
        class,
        target: "redis",
        begun_s,
        ended_s,
        met: None,
        not_injected: None,
        not_undone: None,
        recovery: Recovery::default(),
    }
}

fn evidence() -> Evidence {
    Evidence {
        seed: 7,
        faults: vec![fault(Class::RedisKilled, 1.0, 2.0), fault(Class::RedisKilled, 4.0, 5.0)],
        client: Seen { accepted: [500, 2_500, 5_250].map(Duration::from_millis).into(), ..Seen::default() },
        depths: vec![(0.5, Some(10)), (2.5, Some(500)), (3.5, Some(20)), (5.5, Some(20))],
        verdict: Some(Verdict::default()),
        ..Evidence::default()
    }
}

#[test]
fn a_class_has_the_recovery_of_its_faults() {
    let report = Report::new(evidence());
    assert!(report.clean && report.complete);
    let [class] = report.classes.as_slice() else { panic!("one class: {:?}", report.classes) };
    assert_eq!((class.injected, class.failed), (2, 0));
    assert_eq!(class.first_202_s, Some(Spread { p50: 0.25, p99: 0.5, max: 0.5 }));
    assert_eq!(class.drained_s, Some(Spread { p50: 0.5, p99: 1.5, max: 1.5 }));
    assert!(
        report.to_markdown().contains("| `redis-killed` | 2 |") && report.to_markdown().contains("| 0.2 | 0.5 | 0.5 |")
    );
    assert_eq!(report.seconds[2], Second { accepted: 1, backlog: Some(500), faults: 1 });
}

#[test]
fn a_chapter_says_what_waits_for_a_release_that_knows_it() {
    let counts = [("waiting_on_rung".to_owned(), 30)].into();
    let verdict = Verdict { counts, ..Verdict::default() };
    let text = Report::new(Evidence { verdict: Some(verdict), ..evidence() }).to_markdown();
    assert!(text.contains("| waiting_on_rung | 30 |") && text.contains("for a release that does"), "{text}");
    assert!(!Report::new(Evidence { verdict: None, ..evidence() }).to_markdown().contains("waiting_on_rung"));
}

#[test]
fn what_could_not_be_injected_or_judged_makes_a_run_incomplete() {
    let mut without = evidence();
    without.faults[0].not_injected = Some("takes root".to_owned());
    let report = Report::new(without);
    assert!(report.clean && !report.complete && report.injected == 1);
    assert!(report.table().contains("takes root") && report.to_html().contains("takes root"));
    let mut vain = evidence();
    vain.faults.iter_mut().for_each(|fault| fault.met = Some(0));
    assert!(!Report::new(vain).complete, "no fault of the class met anybody");
    assert!(!Report::new(Evidence { verdict: None, ..evidence() }).complete);
    let restless = Evidence { unrest: vec!["a queue does not empty".to_owned()], ..evidence() };
    assert!(!Report::new(restless).complete);
}

#[test]
fn a_breach_is_named_wherever_one_reads() {
    let mut verdict = Verdict::default();
    verdict.breaches.add(Guarantee::Kept, "order 7", "confirmed", "nothing");
    let report = Report::new(Evidence { verdict: Some(verdict), ..evidence() });
    assert!(!report.clean);
    for text in [report.table(), report.to_html(), report.to_json(), report.to_markdown()] {
        assert!(text.contains("order 7"), "{text}");
    }
}
