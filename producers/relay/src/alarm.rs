//! Says what changed, once: the oldest row's age crossing the alarm, and a failure that starts, changes or ends.

use std::time::Duration;

/// The age of an outbox's oldest row, as a level with an alarm.
#[derive(Debug)]
pub(crate) struct AgeAlarm {
    limit: Duration,
    raised: bool,
}

/// What to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Raised,
    Over,
}

impl AgeAlarm {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, raised: false }
    }

    /// The age is `age` now; none: nothing waits.
    pub(crate) fn observe(&mut self, age: Option<Duration>) -> Option<Change> {
        let high = age.is_some_and(|age| age >= self.limit);
        let change = match (self.raised, high) {
            (false, true) => Some(Change::Raised),
            (true, false) => Some(Change::Over),
            _ => None,
        };
        self.raised = high;
        change
    }
}

/// Pauses between tries, doubling from the shortest to the longest.
#[derive(Debug)]
pub(crate) struct Pause {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Pause {
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, next: shortest }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.shortest;
    }

    /// How long to wait now.
    pub(crate) fn take(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_is_told_when_it_begins_and_when_it_ends() {
        let seconds = |n| Some(Duration::from_secs(n));
        let mut alarm = AgeAlarm::new(Duration::from_secs(30));
        let told: Vec<_> =
            [None, seconds(1), seconds(30), seconds(90), seconds(2), None].map(|age| alarm.observe(age)).into();
        assert_eq!(told, [None, None, Some(Change::Raised), None, Some(Change::Over), None]);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again() {
        let ms = Duration::from_millis;
        let mut pause = Pause::new(ms(100), ms(350));
        assert_eq!([(); 4].map(|()| pause.take()), [ms(100), ms(200), ms(350), ms(350)]);
        pause.reset();
        assert_eq!(pause.take(), ms(100));
    }
}
