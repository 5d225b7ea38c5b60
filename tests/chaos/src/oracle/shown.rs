//! How old an answer is that a storefront gives, while all the time one article is edited.
//!
//! An edit counts from when it was answered, a look from when it was asked: so an old answer that was on its way for long is
//! not taken for a late one. What an edit without an answer did is not known, and is not counted. Versions only ever rise, so an
//! answer is as old as the first answered edit that it does not show.

use std::time::Duration;

use capacity::{Breaches, Guarantee};
use tokio::time::Instant;

/// What was edited, and what was shown of it.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// How old an answer may be.
    bound: Duration,
    /// Versions, with when their edit was answered.
    edits: Vec<(i64, Instant)>,
    looks: u64,
    oldest: Duration,
    late: Vec<Late>,
}

/// An answer older than it may be.
#[derive(Debug, Clone)]
struct Late {
    by: String,
    version: i64,
    age: Duration,
}

impl Shown {
    /// Nothing yet.
    pub fn new(bound: Duration) -> Self {
        Self { bound, ..Self::default() }
    }

    /// An edit that made this version was answered.
    pub fn edited(&mut self, version: i64, answered: Instant) {
        self.edits.push((version, answered));
    }

    /// Who was asked then showed this version.
    pub fn seen(&mut self, version: i64, asked: Instant, by: &str) {
        let next = self.edits.partition_point(|(edited, _)| *edited <= version);
        let age = self.edits.get(next).map_or(Duration::ZERO, |(_, at)| asked.saturating_duration_since(*at));
        self.looks += 1;
        self.oldest = self.oldest.max(age);
        if age > self.bound {
            self.late.push(Late { by: by.to_owned(), version, age });
        }
    }

    /// Figures by name.
    pub(super) fn counts(&self) -> [(&'static str, u64); 4] {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        [
            ("watched_edits", self.edits.len() as u64),
            ("watched_looks", self.looks),
            ("watched_oldest_ms", ms(self.oldest)),
            ("watched_bound_ms", ms(self.bound)),
        ]
    }

    /// Late answers are breaches, and so is it where nothing was edited or nobody saw anything: that would prove nothing.
    pub(super) fn judge(&self) -> Breaches {
        let mut breaches = Breaches::default();
        if self.edits.is_empty() || self.looks == 0 {
            let found = format!("{} and {}", self.edits.len(), self.looks);
            breaches.add(Guarantee::Cached, "the watched article", "edits and looks", found);
        }
        let bound = format!("at most {:.1} s old", self.bound.as_secs_f64());
        for Late { by, version, age } in &self.late {
            breaches.add(Guarantee::Cached, by.as_str(), bound.as_str(), format!("version {version}, {age:.1?} old"));
        }
        breaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Version 2 is answered at 10 s, version 4 at 20 s: that of 3 was not answered.
    fn edited(began: Instant) -> Shown {
        let mut shown = Shown::new(SECOND * 5);
        shown.edited(2, began + SECOND * 10);
        shown.edited(4, began + SECOND * 20);
        shown
    }

    #[test]
    fn an_answer_is_as_old_as_the_first_answered_edit_that_it_does_not_show() {
        let began = Instant::now();
        let age = |version, at| {
            let mut shown = edited(began);
            shown.seen(version, began + SECOND * at, "a storefront");
            (shown.oldest.as_secs(), shown.judge().of(Guarantee::Cached))
        };
        assert_eq!(age(1, 9), (0, 0), "before the edit was answered");
        assert_eq!(age(1, 15), (5, 0));
        assert_eq!(age(1, 16), (6, 1));
        assert_eq!(age(2, 24), (4, 0));
        assert_eq!(age(3, 26), (6, 1), "an edit without an answer, overtaken by one that was answered");
        assert_eq!(age(4, 100), (0, 0));
        assert_eq!(age(5, 100), (0, 0), "an edit whose answer was lost");
    }

    #[test]
    fn where_nothing_was_edited_or_seen_nothing_is_proved() {
        let mut shown = Shown::new(SECOND);
        assert_eq!(shown.judge().of(Guarantee::Cached), 1);
        shown.seen(1, Instant::now(), "a storefront");
        assert_eq!(shown.judge().of(Guarantee::Cached), 1);
        shown.edited(1, Instant::now());
        assert_eq!(shown.judge().of(Guarantee::Cached), 0);
    }
}
