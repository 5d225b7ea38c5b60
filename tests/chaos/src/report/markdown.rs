//! The report as a chapter for documentation: what was measured, and nothing else.

use std::fmt::Write as _;

use super::Report;
use super::table::cells;

impl Report {
    /// Markdown: the verdict with its figures, and recovery by class.
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "# What was broken, and what was kept\n\n{} faults of {} classes in {:.0} s, seed {}. {}.\n\n\
             ## Figures\n\n| what | |\n|---|---|\n",
            self.injected,
            self.classes.len(),
            self.took_s,
            self.seed,
            sentence(self.word()),
        );
        for (name, value) in self.figures() {
            let _ = writeln!(text, "| {} | {} |", plain(&name), plain(&value));
        }
        if self.verdict.is_some() {
            text.push_str(
                "\n`poison` are messages that were spoilt on purpose. Those of a version that no release knows are not parked: \
                 `waiting_on_rung` of them wait on a rung of the retry ladder, for as long as it takes, for a release that does.\n",
            );
        }
        text.push_str(
            "\n## Recovery by class\n\nSeconds from the end of a fault until an order was accepted, and until no more waited than \
             before it. A fault ends when it is undone, which for queues and bindings includes the replay of what was unrouted. \
             Faults overlap, so others may have been in the way. p99 of fewer than a hundred is the largest.\n\n\
             | class | faults | what | 202: p50 | p99 | max | drained: p50 | p99 | max |\n\
             |---|--:|---|--:|--:|--:|--:|--:|--:|\n",
        );
        for class in &self.classes {
            let times = cells(class.first_202_s).into_iter().chain(cells(class.drained_s));
            let (name, what) = (class.class.name(), plain(class.class.what().trim()));
            let _ = write!(text, "| `{name}` | {} | {what} |", class.injected);
            for time in times {
                let _ = write!(text, " {time} |");
            }
            text.push('\n');
        }
        text
    }
}

/// What a cell of a table can hold.
fn plain(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
