//! A queue in the words that everyone reads: dashboard, terminal, an operator on the phone.

use std::time::Duration;

use crate::beat::LimitedBy;
use crate::drain::{Drain, grouped};
use crate::oldest::Age;

/// What is known of a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation<'a> {
    /// What waits in it, in the plural: orders.
    pub what: &'a str,
    /// How many of it; `None` where the broker does not say.
    pub waiting: Option<u64>,
    /// The age of the oldest; `None` where it is not known.
    pub oldest: Option<Age>,
    /// When it will be empty.
    pub drain: Drain,
    /// What holds its workers up; `None` where no worker says.
    pub limited_by: Option<LimitedBy>,
    /// Who paused it, and since when; `None` where it is not paused.
    pub paused: Option<Paused<'a>>,
}

/// A pause, in the words of the one who tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused<'a> {
    /// Who.
    pub by: &'a str,
    /// Since when, as people say it: 14:02.
    pub since: &'a str,
}

impl Situation<'_> {
    /// One sentence on what happens, and one on what limits it. `at` names the time of day that is so far away: 14:07.
    pub fn sentence(&self, at: impl FnOnce(Duration) -> String) -> String {
        let what = self.what;
        if let Some(paused) = self.paused {
            return self.paused_sentence(paused);
        }
        let Some(waiting) = self.waiting else {
            return format!("Nobody says how many {what} are waiting: the broker does not answer.");
        };
        let at_once = matches!(self.drain, Drain::In(time) if time < Duration::from_secs(1));
        if waiting == 0 || at_once {
            return format!(
                "Keeping up: {} {what} waiting.",
                if waiting == 0 { "no".to_owned() } else { grouped(waiting) }
            );
        }
        let begin = match self.drain {
            Drain::In(_) | Drain::Empty => "Absorbing a spike",
            Drain::Growing => "Filling up",
            Drain::Unknown => "Waiting",
        };
        let mut text = format!("{begin}: {} {what} waiting", grouped(waiting));
        if let Some(age) = self.oldest {
            text.push_str(", oldest ");
            text.push_str(&said(age));
        }
        match self.drain {
            Drain::In(time) => {
                text.push_str(", clear by ");
                text.push_str(&at(time));
            }
            Drain::Growing => text.push_str(", and growing"),
            Drain::Empty | Drain::Unknown => {}
        }
        text.push_str(". ");
        text.push_str(match self.limited_by {
            None => "No worker says what limits it.",
            Some(LimitedBy::Idle) => "Its workers are idle: look whether they take from this queue.",
            Some(LimitedBy::Busy) => "Limited by the workers; more of them will help.",
            Some(LimitedBy::Budget) => "Limited by the database budget; more workers won't help.",
            Some(LimitedBy::Database) => "The database does not answer; nothing is lost, and more workers won't help.",
        });
        text
    }

    fn paused_sentence(&self, Paused { by, since }: Paused<'_>) -> String {
        let what = self.what;
        let waiting = match self.waiting {
            None => format!("the broker does not say how many {what} are waiting"),
            Some(0) => format!("no {what} waiting"),
            Some(waiting) => format!("{} {what} waiting", grouped(waiting)),
        };
        let oldest = self.oldest.map(|age| format!(", oldest {}", said(age))).unwrap_or_default();
        format!("Paused by {by} since {since}: {waiting}{oldest}. Nothing is lost, and more is taken in.")
    }
}

/// An age, and that it may be more where it may.
fn said(age: Age) -> String {
    let least = if age.at_least { "at least " } else { "" };
    format!("{least}{}", span(age.time))
}

/// A span of time as people say it: 41 s, 12 min, 3 h.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPIKE: Situation<'_> = Situation {
        what: "orders",
        waiting: Some(18_400),
        oldest: Some(Age { time: Duration::from_secs(41), at_least: false }),
        drain: Drain::In(Duration::from_mins(3)),
        limited_by: Some(LimitedBy::Budget),
        paused: None,
    };

    fn told(situation: Situation<'_>) -> String {
        situation.sentence(|after| {
            assert_eq!(after, Duration::from_mins(3));
            "14:07".to_owned()
        })
    }

    #[test]
    fn a_spike_is_told_with_its_end_and_its_limit() {
        assert_eq!(
            told(SPIKE),
            "Absorbing a spike: 18,400 orders waiting, oldest 41 s, clear by 14:07. Limited by the database budget; more \
             workers won't help."
        );
        assert_eq!(
            told(Situation { drain: Drain::Growing, limited_by: Some(LimitedBy::Busy), ..SPIKE }),
            "Filling up: 18,400 orders waiting, oldest 41 s, and growing. Limited by the workers; more of them will help."
        );
    }

    #[test]
    fn a_pause_is_told_before_anything_else() {
        let paused = Some(Paused { by: "anna", since: "14:02" });
        assert_eq!(
            told(Situation { paused, ..SPIKE }),
            "Paused by anna since 14:02: 18,400 orders waiting, oldest 41 s. Nothing is lost, and more is taken in."
        );
        let least = Some(Age { time: Duration::from_mins(12), at_least: true });
        let said = told(Situation { paused, oldest: least, ..SPIKE });
        assert!(said.contains("18,400 orders waiting, oldest at least 12 min."), "{said}");
        let said = told(Situation { paused, waiting: None, oldest: None, ..SPIKE });
        assert!(said.starts_with("Paused by anna since 14:02: the broker does not say how many orders"), "{said}");
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        assert_eq!(
            told(Situation { oldest: None, drain: Drain::Unknown, limited_by: None, ..SPIKE }),
            "Waiting: 18,400 orders waiting. No worker says what limits it."
        );
        assert!(told(Situation { waiting: None, ..SPIKE }).starts_with("Nobody says how many orders"));
    }

    #[test]
    fn a_queue_that_keeps_up_is_told_so() {
        assert_eq!(
            told(Situation { waiting: Some(0), drain: Drain::Empty, ..SPIKE }),
            "Keeping up: no orders waiting."
        );
        let soon = Drain::In(Duration::from_millis(200));
        assert_eq!(told(Situation { waiting: Some(60), drain: soon, ..SPIKE }), "Keeping up: 60 orders waiting.");
    }
}
