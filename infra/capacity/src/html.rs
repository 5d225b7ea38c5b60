//! The report of a run as a page.

use crate::page::{Line, Page, Picture, Table};
use crate::report::{Point, Report};

/// The page. Everything in it is part of it: style, script, figures.
pub fn html(report: &Report) -> String {
    let page = Page {
        title: format!("Millpond load: {}", report.load),
        heading: "What the pond can carry".to_owned(),
        subtitle: subtitle(report),
        seconds: report.seconds.iter().map(|point| real(point.t)).collect(),
        pictures: pictures(report),
        tables: vec![Table { title: "Numbers".to_owned(), head: Vec::new(), rows: rows(report) }],
    };
    page.html()
}

fn subtitle(report: &Report) -> String {
    let stopped = if report.interrupted { ", stopped early" } else { "" };
    format!(
        "{} to {}, {} connections, from {}{stopped}. Run {}, seed {}.",
        report.mix, report.url, report.connections, report.started_at, report.run, report.seed
    )
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let mut rows = report.rows();
    let refusals = report.first_refusals.iter().map(|(status, said)| ("first refusal", format!("{status}: {said}")));
    rows.extend(refusals);
    rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect()
}

/// The pictures of what this run has: a picture without a value is left out.
fn pictures(report: &Report) -> Vec<Picture> {
    let line = |name, color, value: fn(&Point) -> Option<f64>| Line {
        name,
        color,
        values: report.seconds.iter().map(value).collect(),
    };
    let answers = if report.saturating {
        "From each request to its answer. A saturating run waits for answers, so this is not what users would see."
    } else {
        "From the planned time of each request to its answer, by the second in which the answer came."
    };
    let pictures = [
        Picture {
            title: "Arrivals and answers",
            note: "Requests in each second: as planned, as sent, and as taken.",
            unit: "requests/s",
            lines: vec![
                line("planned", 1, |point| Some(real(point.planned))),
                line("accepted", 2, |point| Some(real(point.accepted))),
                line("refused", 4, |point| some(point.refused + point.unanswered)),
                line("not sent", 3, |point| some(point.not_sent)),
            ],
        },
        Picture {
            title: "Latency",
            note: answers,
            unit: "ms",
            lines: vec![
                line("p50", 2, |point| point.p50_ms),
                line("p99", 3, |point| point.p99_ms),
                line("max", 4, |point| point.max_ms),
            ],
        },
        Picture {
            title: "Queue depth",
            note: "What the queues hold at the end of each second.",
            unit: "messages",
            lines: vec![
                line("orders", 1, |point| point.queue.map(real)),
                line("messages of page events", 3, |point| point.events_queue.map(real)),
            ],
        },
        Picture {
            title: "Database",
            note: "Orders that the databases gained in each second.",
            unit: "orders/s",
            lines: vec![line("orders stored", 2, |point| point.stored_per_s)],
        },
        Picture {
            title: "Page events",
            note: "Events in each second: in requests that were taken, and counted by analytics.",
            unit: "events/s",
            lines: vec![
                line("accepted", 1, |point| some(point.events_accepted)),
                line("counted", 2, |point| point.events_counted_per_s),
            ],
        },
        Picture {
            title: "Rows and transactions",
            note: "What PostgreSQL says of itself, up to a second late.",
            unit: "per second",
            lines: vec![
                line("rows written", 1, |point| point.rows_per_s),
                line("transactions", 3, |point| point.commits_per_s),
            ],
        },
    ];
    let mut pictures: Vec<Picture> = pictures.into();
    if report.events_accepted == 0 {
        pictures.retain(|picture| picture.title != "Page events");
    }
    for picture in &mut pictures {
        picture.lines.retain(|line| line.values.iter().any(Option::is_some));
        // A line that is there in some seconds is zero in the others, where it counts things.
        for line in picture.lines.iter_mut().filter(|line| matches!(line.name, "refused" | "not sent" | "accepted")) {
            line.values.iter_mut().for_each(|value| *value = value.or(Some(0.0)));
        }
    }
    pictures.retain(|picture| !picture.lines.is_empty());
    pictures
}

/// Nothing where there is nothing to draw.
fn some(count: u64) -> Option<f64> {
    (count > 0).then(|| real(count))
}

#[expect(clippy::cast_precision_loss, reason = "a picture is coarser than a count of 2^52")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::live::{Counts, Second, Snapshot};
    use crate::report::{Described, Observed};

    fn page() -> String {
        let counts = Counts { planned: 5, sent: 5, accepted: 5, orders_accepted: 5, ..Counts::default() };
        let snapshot =
            Snapshot { counts, seconds: vec![Second { counts, ..Second::default() }], ..Snapshot::default() };
        let described = Described { mix: "orders of </script><b>{{script}}".to_owned(), ..Described::default() };
        html(&Report::new(described, snapshot, Duration::from_secs(1), false, &Observed::default()))
    }

    #[test]
    fn the_page_asks_for_nothing_from_outside() {
        let page = page();
        for outside in ["src=", "<link", "@import", "url(", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("uPlot") && page.ends_with("</html>\n"));
        let places = ["{{title}}", "{{tables}}", "{{data}}", "{{uplot}}", "{{style}}"];
        assert!(places.iter().all(|place| !page.contains(place)), "every part is in its place");
    }

    #[test]
    fn texts_of_the_run_are_shown_and_never_obeyed() {
        let page = page();
        assert!(page.contains("orders of &lt;/script&gt;&lt;b&gt;{{script}}"));
        assert_eq!(page.matches("</script>").count(), page.matches("<script").count());
    }

    #[test]
    fn pictures_without_values_are_left_out() {
        let page = page();
        assert!(page.contains("\"Arrivals and answers\""));
        assert!(!page.contains("\"Queue depth\"") && !page.contains("\"Rows and transactions\""));
    }
}
