//! Heartbeats: what a worker says of itself each second, and what is known of all of them. A heartbeat that was lost makes
//! its worker unknown, never idle.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drain::Drain;

/// What keeps a worker from taking more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// Nothing: there is nothing to do.
    Idle,
    /// Itself: it works as fast as it can.
    Busy,
    /// The budget that it was given for its database.
    Budget,
    /// Its database does not answer, or is just recovering.
    Database,
}

/// One worker's heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Unlike any other worker's, for as long as it runs.
    pub worker: String,
    /// The queue that it takes from.
    pub queue: String,
    /// Messages taken since it started.
    pub taken: u64,
    /// Messages handled since it started.
    pub handled: u64,
    /// Messages taken per second, over the last seconds.
    pub taken_per_s: Option<f64>,
    /// Messages handled per second, over the last seconds.
    pub handled_per_s: Option<f64>,
    /// Age of the oldest message taken since the last heartbeat, ms; `None` where none was. Retries don't count: they are
    /// old because they failed.
    pub oldest_ms: Option<u64>,
    /// Messages that it holds.
    pub in_hand: u64,
    /// What keeps it from taking more.
    pub limited_by: LimitedBy,
    /// Its queue is paused, and it obeys: it takes nothing, and holds nothing.
    #[serde(default)]
    pub paused: bool,
}

/// What is known of a queue's workers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// Workers heard of lately.
    pub workers: usize,
    /// Of those, how many obey a pause.
    pub paused: usize,
    /// Messages taken per second by all of them; `None` while one of them does not know its rate.
    pub taken_per_s: Option<f64>,
    /// Messages handled per second by all of them; `None` while one of them does not know its rate.
    pub handled_per_s: Option<f64>,
    /// Messages that all of them hold; `None` where none was heard of.
    pub in_hand: Option<u64>,
    /// The age of the oldest message that one of them just took.
    pub oldest: Option<Duration>,
    /// What holds most of them up: the worst of what they say.
    pub limited_by: Option<LimitedBy>,
}

impl Seen {
    /// How long a message waits for its turn that joins `waiting` others now: those and what is in hand, at the rate at which
    /// all workers handle messages. `None` where that can't be told: nobody works, somebody's rate is not known, or workers
    /// had nothing to do until now, so that their rate says nothing of what they can do.
    pub fn wait(&self, waiting: u64) -> Option<Duration> {
        match self.limited_by? {
            LimitedBy::Idle if waiting == 0 => return Some(Duration::ZERO),
            LimitedBy::Idle | LimitedBy::Database => return None,
            LimitedBy::Busy | LimitedBy::Budget => {}
        }
        if self.paused > 0 {
            return None;
        }
        let before = waiting.saturating_add(self.in_hand.unwrap_or(0));
        match Drain::estimate(before, Some(0.0), self.handled_per_s) {
            Drain::Empty => Some(Duration::ZERO),
            Drain::In(time) => Some(time),
            Drain::Growing | Drain::Unknown => None,
        }
    }
}

/// The last heartbeat of each worker, forgotten after a while.
#[derive(Debug)]
pub struct Roster {
    expires: Duration,
    most: usize,
    last: BTreeMap<String, (Duration, Beat)>,
}

impl Beat {
    /// As it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Its fields are numbers, texts and an enum: there is nothing that JSON can't hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was sent; `None` where it is of a release that speaks otherwise.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Roster {
    /// Nobody was heard of yet. A worker that was silent for `expires` is not known any more; of more than `most` workers
    /// the latest are.
    pub fn new(expires: Duration, most: usize) -> Self {
        Self { expires, most: most.max(1), last: BTreeMap::new() }
    }

    /// Somebody's heartbeat came at `now`, a time since a start that the caller chose.
    pub fn heard(&mut self, now: Duration, beat: Beat) {
        self.forget_silent(now);
        if self.last.len() >= self.most && !self.last.contains_key(&beat.worker) {
            let oldest = self.last.iter().min_by_key(|(_, (at, _))| *at).map(|(worker, _)| worker.clone());
            oldest.and_then(|worker| self.last.remove(&worker));
        }
        self.last.insert(beat.worker.clone(), (now, beat));
    }

    /// What is known of `queue` at `now`.
    pub fn of_queue(&self, now: Duration, queue: &str) -> Seen {
        let beats = self.last.values().filter(|(at, beat)| self.is_fresh(now, *at) && beat.queue == queue);
        let mut seen = Seen { taken_per_s: Some(0.0), handled_per_s: Some(0.0), ..Seen::default() };
        for (_, beat) in beats {
            seen.workers += 1;
            seen.paused += usize::from(beat.paused);
            seen.taken_per_s = seen.taken_per_s.zip(beat.taken_per_s).map(|(sum, rate)| sum + rate);
            seen.in_hand = Some(seen.in_hand.unwrap_or(0).saturating_add(beat.in_hand));
            seen.handled_per_s = seen.handled_per_s.zip(beat.handled_per_s).map(|(sum, rate)| sum + rate);
            seen.oldest = seen.oldest.max(beat.oldest_ms.map(Duration::from_millis));
            seen.limited_by = seen.limited_by.max(Some(beat.limited_by));
        }
        if seen.workers == 0 { Seen::default() } else { seen }
    }

    fn is_fresh(&self, now: Duration, at: Duration) -> bool {
        now.saturating_sub(at) < self.expires
    }

    fn forget_silent(&mut self, now: Duration) {
        let expires = self.expires;
        self.last.retain(|_, (at, _)| now.saturating_sub(*at) < expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn beat(worker: &str, oldest_ms: Option<u64>) -> Beat {
        Beat {
            worker: worker.to_owned(),
            queue: "q".to_owned(),
            taken: 10,
            handled: 9,
            taken_per_s: Some(5.0),
            handled_per_s: Some(4.0),
            oldest_ms,
            in_hand: 1,
            limited_by: LimitedBy::Busy,
            paused: false,
        }
    }

    #[test]
    fn a_queue_is_what_all_of_its_workers_say() {
        let mut roster = Roster::new(5 * SECOND, 10);
        roster.heard(SECOND, beat("a", Some(400)));
        roster.heard(SECOND, Beat { limited_by: LimitedBy::Database, ..beat("b", None) });
        roster.heard(SECOND, Beat { queue: "other".to_owned(), ..beat("c", Some(9_000)) });
        let seen = roster.of_queue(2 * SECOND, "q");
        assert_eq!((seen.workers, seen.taken_per_s, seen.handled_per_s), (2, Some(10.0), Some(8.0)));
        assert_eq!((seen.in_hand, seen.paused), (Some(2), 0));
        assert_eq!(seen.oldest, Some(Duration::from_millis(400)));
        assert_eq!(seen.limited_by, Some(LimitedBy::Database));
    }

    #[test]
    fn a_worker_that_is_silent_is_unknown_and_not_idle() {
        let mut roster = Roster::new(5 * SECOND, 10);
        roster.heard(SECOND, beat("a", Some(400)));
        assert_eq!(roster.of_queue(5 * SECOND, "q").workers, 1);
        assert_eq!(roster.of_queue(6 * SECOND, "q"), Seen::default());
        assert_eq!(Seen::default().handled_per_s, None, "unknown, not zero");
        roster.heard(7 * SECOND, Beat { handled_per_s: None, ..beat("b", None) });
        assert_eq!(roster.of_queue(7 * SECOND, "q").handled_per_s, None);
    }

    #[test]
    fn a_wait_is_told_only_where_the_workers_rate_says_something() {
        let busy = Seen {
            workers: 1,
            handled_per_s: Some(20.0),
            in_hand: Some(20),
            limited_by: Some(LimitedBy::Budget),
            ..Seen::default()
        };
        assert_eq!(busy.wait(780), Some(40 * SECOND));
        assert_eq!(Seen { in_hand: None, ..busy }.wait(0), Some(Duration::ZERO));
        let idle = Seen { limited_by: Some(LimitedBy::Idle), ..busy };
        assert_eq!((idle.wait(0), idle.wait(1)), (Some(Duration::ZERO), None));
        for unknown in [
            Seen::default(),
            Seen { handled_per_s: None, ..busy },
            Seen { handled_per_s: Some(0.0), ..busy },
            Seen { paused: 1, ..busy },
            Seen { limited_by: Some(LimitedBy::Database), ..busy },
        ] {
            assert_eq!(unknown.wait(5), None, "{unknown:?}");
        }
    }

    #[test]
    fn however_many_workers_speak_only_so_many_are_remembered() {
        let mut roster = Roster::new(60 * SECOND, 2);
        for (second, worker) in (1..).zip(["a", "b", "c"]) {
            roster.heard(second * SECOND, beat(worker, None));
        }
        assert_eq!(roster.of_queue(4 * SECOND, "q").workers, 2);
        assert!(!roster.last.contains_key("a"));
    }

    #[test]
    fn a_heartbeat_comes_back_as_it_was_sent_and_what_is_none_is_passed_over() {
        let sent = beat("a", Some(7));
        assert_eq!(Beat::from_bytes(&sent.to_bytes()), Some(sent));
        assert_eq!(Beat::from_bytes(b"{}"), None);
        // An older release says nothing of pauses.
        let older = String::from_utf8(beat("a", None).to_bytes()).unwrap().replace(",\"paused\":false", "");
        assert_eq!(Beat::from_bytes(older.as_bytes()), Some(beat("a", None)));
        // A newer release may say more.
        let newer = String::from_utf8(beat("a", None).to_bytes()).unwrap().replace('{', "{\"mood\":\"fine\",");
        assert!(Beat::from_bytes(newer.as_bytes()).is_some());
    }
}
