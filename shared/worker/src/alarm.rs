//! An error that may happen thousands of times a second, and is logged once in a while with its count.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one through in each interval, and says how many it stands for.
#[derive(Debug)]
pub(crate) struct Alarm {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    since: u64,
}

impl Alarm {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, state: Mutex::default() }
    }

    /// Counts one. `Some` when it is time to say so: how many there were since that was last said, this one included.
    pub(crate) fn ring(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.since += 1;
        if state.last.is_some_and(|last| now.duration_since(last) < self.every) {
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_at_once_and_then_once_per_interval_with_the_count() {
        let alarm = Alarm::new(Duration::from_mins(1));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let rings: Vec<_> = [0, 1, 59, 60, 61, 200].into_iter().map(|at| alarm.ring(after(at))).collect();
        assert_eq!(rings, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
