//! The report as a page with pictures.

use capacity::{Line, Page, Picture, Table};

use super::table::cells;
use super::{Report, Second};

impl Report {
    /// One file that needs no network.
    pub fn to_html(&self) -> String {
        let page = Page {
            title: format!("Millpond chaos: seed {}", self.seed),
            heading: "What was broken, and what was kept".to_owned(),
            subtitle: format!("{}. {} faults in {:.0} s, seed {}.", self.word(), self.injected, self.took_s, self.seed),
            seconds: (0..self.seconds.len()).map(|second| real(second as u64)).collect(),
            pictures: self.pictures(),
            tables: vec![self.classes_table(), self.figures_table(), self.faults_table()],
        };
        page.html()
    }

    fn pictures(&self) -> Vec<Picture> {
        let line = |name, color, value: fn(&Second) -> Option<f64>| {
            vec![Line { name, color, values: self.seconds.iter().map(value).collect() }]
        };
        vec![
            Picture {
                title: "Accepted",
                note: "Orders and batches of page events answered 2xx in each second.",
                unit: "requests/s",
                lines: line("accepted", 2, |second| Some(real(second.accepted))),
            },
            Picture {
                title: "Backlog",
                note: "Messages that wait in all queues; a gap is a broker that did not say.",
                unit: "messages",
                lines: line("waiting", 1, |second| second.backlog.map(real)),
            },
            Picture {
                title: "Faults",
                note: "How many were under way in each second.",
                unit: "faults",
                lines: line("under way", 4, |second| Some(real(second.faults))),
            },
        ]
    }

    fn classes_table(&self) -> Table {
        let head = ["class", "count", "failed", "202 p50, s", "p99", "max", "drained p50, s", "p99", "max", "what"];
        let row = |class: &super::OfClass| {
            let [name, what] = [class.class.name(), class.class.what().trim()].map(ToOwned::to_owned);
            let counts = [class.injected, class.failed].map(|count| count.to_string());
            let (accepts, drains) = (cells(class.first_202_s), cells(class.drained_s));
            std::iter::once(name).chain(counts).chain(accepts).chain(drains).chain([what]).collect()
        };
        Table {
            title: "Recovery by class, from the end of a fault".to_owned(),
            head: head.map(ToOwned::to_owned).into(),
            rows: self.classes.iter().map(row).collect(),
        }
    }

    fn figures_table(&self) -> Table {
        let rows = self.figures().into_iter().chain(self.last_words()).map(|(name, value)| vec![name, value]).collect();
        Table { title: "Verdict and figures".to_owned(), head: Vec::new(), rows }
    }

    fn faults_table(&self) -> Table {
        let head = ["at, s", "class", "target", "lasted, s", "struck", "first 202 after, s", "drained after, s"];
        let time = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), |time| format!("{time:.1}"));
        let row = |fault: &super::Happened| {
            vec![
                format!("{:.1}", fault.begun_s),
                fault.class.name().to_owned(),
                fault.target.to_owned(),
                fault.not_injected.clone().unwrap_or_else(|| format!("{:.1}", fault.ended_s - fault.begun_s)),
                fault.met.map_or_else(|| "–".to_owned(), |met| met.to_string()),
                time(fault.recovery.first_202_s),
                time(fault.recovery.drained_s),
            ]
        };
        Table {
            title: "Every fault".to_owned(),
            head: head.map(ToOwned::to_owned).into(),
            rows: self.faults.iter().map(row).collect(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn real(count: u64) -> f64 {
    count as f64
}
