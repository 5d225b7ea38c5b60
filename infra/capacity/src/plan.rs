//! The run's arrivals, and the bounded room where those wait that found no free connection.
//!
//! A connection that is free takes the next arrival and sends it at its planned time. So an arrival waits exactly where
//! every connection is busy at its time, and then in order. Who found the room full is decided lazily, whenever somebody
//! looks: nothing leaves the room between two looks, so the answer is the same as at the arrival's own time.

use std::collections::VecDeque;
use std::time::Duration;

/// A request of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Its number, from 0.
    pub(crate) n: u64,
    /// Its planned time, from the start.
    pub(crate) planned: Duration,
}

/// Where arrivals come from.
pub(crate) enum Source {
    /// Planned times.
    Open(Box<dyn Iterator<Item = Duration> + Send>),
    /// Whenever somebody asks, until this time.
    Closed(Duration),
}

/// What has not been taken yet.
pub(crate) struct Plan {
    source: Source,
    next: Option<Duration>,
    n: u64,
    waiting: VecDeque<Arrival>,
    max_waiting: usize,
    max_requests: u64,
    /// Arrivals that found the room full since the last [`Plan::turned_away`].
    turned_away: Vec<Arrival>,
}

impl Plan {
    pub(crate) fn new(mut source: Source, max_waiting: usize, max_requests: Option<u64>) -> Self {
        let next = match &mut source {
            Source::Open(arrivals) => arrivals.next(),
            Source::Closed(_) => None,
        };
        let max_requests = max_requests.unwrap_or(u64::MAX);
        Self { source, next, n: 0, waiting: VecDeque::new(), max_waiting, max_requests, turned_away: Vec::new() }
    }

    /// The next arrival for a free connection: one that waits, else one that is still to come; `None` at the end.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Arrival> {
        self.admit(now);
        if let Some(waiting) = self.waiting.pop_front() {
            return Some(waiting);
        }
        if let Source::Closed(until) = self.source {
            let open = now < until && self.n < self.max_requests;
            return open.then(|| self.number(now));
        }
        self.advance()
    }

    /// Lets in those whose time has come.
    pub(crate) fn admit(&mut self, now: Duration) {
        while self.next.is_some_and(|planned| planned <= now) {
            let Some(arrival) = self.advance() else { return };
            if self.waiting.len() < self.max_waiting {
                self.waiting.push_back(arrival);
            } else {
                self.turned_away.push(arrival);
            }
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Arrivals that found the room full, each once.
    pub(crate) fn turned_away(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.turned_away)
    }

    /// Ends the plan: what waits now will not be sent, and nothing comes after it.
    pub(crate) fn end(&mut self, now: Duration) {
        self.admit(now);
        self.turned_away.extend(self.waiting.drain(..));
        self.next = None;
        self.source = Source::Closed(Duration::ZERO);
    }

    fn advance(&mut self) -> Option<Arrival> {
        if self.n >= self.max_requests {
            self.next = None;
        }
        let planned = self.next?;
        if let Source::Open(arrivals) = &mut self.source {
            self.next = arrivals.next();
        }
        Some(self.number(planned))
    }

    fn number(&mut self, planned: Duration) -> Arrival {
        let n = self.n;
        self.n += 1;
        Arrival { n, planned }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn plan(times: &[u64], max_waiting: usize, max_requests: Option<u64>) -> Plan {
        let times: Vec<Duration> = times.iter().copied().map(ms).collect();
        Plan::new(Source::Open(Box::new(times.into_iter())), max_waiting, max_requests)
    }

    #[test]
    fn arrivals_that_find_no_free_connection_wait_in_order() {
        let mut plan = plan(&[0, 1, 2, 90], 10, None);
        assert_eq!(plan.take(ms(0)), Some(Arrival { n: 0, planned: ms(0) }));
        assert_eq!(plan.take(ms(50)), Some(Arrival { n: 1, planned: ms(1) }));
        assert_eq!(plan.waiting(), 1);
        assert_eq!(plan.take(ms(50)).unwrap().n, 2);
        assert_eq!(plan.take(ms(50)), Some(Arrival { n: 3, planned: ms(90) }), "one that is still to come");
        assert_eq!(plan.take(ms(50)), None);
    }

    #[test]
    fn an_arrival_that_finds_the_room_full_is_turned_away_and_named() {
        let mut plan = plan(&[0, 1, 2, 3, 4], 2, None);
        plan.admit(ms(10));
        let away: Vec<u64> = plan.turned_away().iter().map(|arrival| arrival.n).collect();
        assert_eq!((plan.waiting(), away), (2, vec![2, 3, 4]));
        assert!(plan.turned_away().is_empty(), "each once");
        assert_eq!(plan.take(ms(10)).unwrap().n, 0);
    }

    #[test]
    fn an_ended_plan_names_what_was_due_and_forgets_the_rest() {
        let mut plan = plan(&[0, 1, 500], 10, None);
        plan.end(ms(5));
        assert_eq!(plan.turned_away().len(), 2);
        assert_eq!(plan.take(ms(900)), None);
    }

    #[test]
    fn no_more_requests_than_the_bound() {
        let mut open = plan(&[0, 0, 0, 0], 10, Some(2));
        let taken: Vec<u64> = std::iter::from_fn(|| open.take(ms(1))).map(|arrival| arrival.n).collect();
        assert_eq!(taken, [0, 1]);
        let mut closed = Plan::new(Source::Closed(ms(100)), 10, Some(3));
        assert_eq!(std::iter::from_fn(|| closed.take(ms(7))).count(), 3);
        let mut over = Plan::new(Source::Closed(ms(100)), 10, None);
        assert_eq!(over.take(ms(100)), None);
    }
}
