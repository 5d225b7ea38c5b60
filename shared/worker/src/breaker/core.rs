//! The breaker's states without a clock, without chance and without waiting.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::BreakerConfig;

/// Which stretch of states a permit belongs to. What was admitted in an earlier one says nothing of the present.
pub(super) type Epoch = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All is well.
    Closed,
    /// Nothing is admitted; at `probe_at` one asker may probe.
    Open { since: Instant, probe_at: Instant, failures: u32, probing: bool },
    /// It answered: batches one at a time, of `size` at most.
    HalfOpen { since: Instant, failures: u32, size: usize, trial: bool },
}

/// What somebody may do who wants to use the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Go ahead with so many messages.
    Go { epoch: Epoch, size: usize },
    /// Ask the database whether it answers, and say what came of it.
    Probe { epoch: Epoch },
    /// Come back then, or when something changes.
    WaitUntil(Instant),
    /// Come back when something changes.
    Wait,
}

#[derive(Debug)]
pub(super) struct Core {
    config: BreakerConfig,
    state: State,
    epoch: Epoch,
}

impl Core {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed, epoch: 0 }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(super) fn ask(&mut self, now: Instant) -> Answer {
        let epoch = self.epoch;
        match &mut self.state {
            State::Closed => Answer::Go { epoch, size: usize::MAX },
            State::Open { probing: true, .. } | State::HalfOpen { trial: true, .. } => Answer::Wait,
            State::Open { probe_at, .. } if now < *probe_at => Answer::WaitUntil(*probe_at),
            State::Open { probing, .. } => {
                *probing = true;
                Answer::Probe { epoch }
            }
            State::HalfOpen { trial, size, .. } => {
                *trial = true;
                Answer::Go { epoch, size: *size }
            }
        }
    }

    /// A batch met infrastructure. Gives whether that opened the breaker; a batch of an earlier epoch does not.
    /// `chance` is in 0 to 1.
    pub(super) fn failed(&mut self, epoch: Epoch, now: Instant, chance: f64) -> bool {
        if epoch != self.epoch {
            return false;
        }
        let (since, failures) = match self.state {
            State::Closed => (now, 0),
            State::HalfOpen { since, failures, .. } => (since, failures.saturating_add(1)),
            State::Open { .. } => return false,
        };
        self.open(since, failures, now, chance);
        true
    }

    /// A batch went through. Gives how long the database was away where that closed the breaker.
    pub(super) fn passed(&mut self, epoch: Epoch, now: Instant) -> Option<Duration> {
        let State::HalfOpen { since, size, trial, .. } = &mut self.state else { return None };
        if epoch != self.epoch {
            return None;
        }
        *trial = false;
        *size = size.saturating_mul(2);
        if *size < self.config.ramp_until {
            return None;
        }
        let away = now.duration_since(*since);
        self.state = State::Closed;
        self.epoch += 1;
        Some(away)
    }

    /// A permit was given back, with nothing learnt of the database.
    pub(super) fn abandoned(&mut self, epoch: Epoch) {
        if let State::HalfOpen { trial, .. } = &mut self.state
            && epoch == self.epoch
        {
            *trial = false;
        }
    }

    pub(super) fn probe_passed(&mut self, epoch: Epoch) {
        if let State::Open { since, failures, .. } = self.state
            && epoch == self.epoch
        {
            self.state = State::HalfOpen { since, failures, size: 1, trial: false };
            self.epoch += 1;
        }
    }

    /// Gives how long the database has been away.
    pub(super) fn probe_failed(&mut self, epoch: Epoch, now: Instant, chance: f64) -> Option<Duration> {
        let State::Open { since, failures, .. } = self.state else { return None };
        if epoch != self.epoch {
            return None;
        }
        self.open(since, failures.saturating_add(1), now, chance);
        Some(now.duration_since(since))
    }

    /// Whoever probed was stopped: the next asker probes.
    pub(super) fn probe_abandoned(&mut self, epoch: Epoch) {
        if let State::Open { probing, .. } = &mut self.state
            && epoch == self.epoch
        {
            *probing = false;
        }
    }

    fn open(&mut self, since: Instant, failures: u32, now: Instant, chance: f64) {
        let probe_at = now + self.delay(failures, chance);
        self.state = State::Open { since, probe_at, failures, probing: false };
        self.epoch += 1;
    }

    /// Doubles with each failure up to the longest, of which half is chance ("equal jitter").
    fn delay(&self, failures: u32, chance: f64) -> Duration {
        let doubled = self.config.probe_first_ms.saturating_mul(1_u64.checked_shl(failures).unwrap_or(u64::MAX));
        let whole = Duration::from_millis(doubled.min(self.config.probe_max_ms));
        whole / 2 + (whole / 2).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What may happen to a breaker: permits and probes are named by their place among those still out.
    #[derive(Debug, Clone)]
    enum Event {
        Ask,
        Advance(u64),
        Passed(usize),
        Failed(usize),
        Abandoned(usize),
        ProbePassed(usize),
        ProbeFailed(usize),
        ProbeAbandoned(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => Just(Event::Ask),
            2 => (0..20_000_u64).prop_map(Event::Advance),
            2 => any::<usize>().prop_map(Event::Passed),
            1 => any::<usize>().prop_map(Event::Failed),
            1 => any::<usize>().prop_map(Event::Abandoned),
            2 => any::<usize>().prop_map(Event::ProbePassed),
            1 => any::<usize>().prop_map(Event::ProbeFailed),
            1 => any::<usize>().prop_map(Event::ProbeAbandoned),
        ];
        prop::collection::vec(event, 0..200)
    }

    fn take(out: &mut Vec<Epoch>, pick: usize) -> Option<Epoch> {
        (!out.is_empty()).then(|| out.remove(pick % out.len()))
    }

    /// A breaker with everything that it let out, driven by events.
    struct Drive {
        core: Core,
        now: Instant,
        permits: Vec<Epoch>,
        probes: Vec<Epoch>,
    }

    impl Drive {
        fn new() -> Self {
            let core = Core::new(BreakerConfig::default());
            Self { core, now: Instant::now(), permits: Vec::new(), probes: Vec::new() }
        }

        fn ask(&mut self) -> Answer {
            let answer = self.core.ask(self.now);
            match answer {
                Answer::Go { epoch, .. } => self.permits.push(epoch),
                Answer::Probe { epoch } => self.probes.push(epoch),
                Answer::WaitUntil(_) | Answer::Wait => {}
            }
            answer
        }

        fn apply(&mut self, event: &Event) {
            let now = self.now;
            match *event {
                Event::Ask => drop(self.ask()),
                Event::Advance(ms) => self.now += Duration::from_millis(ms),
                Event::Passed(pick) => {
                    if let Some(epoch) = take(&mut self.permits, pick) {
                        self.core.passed(epoch, now);
                    }
                }
                Event::Failed(pick) => {
                    if let Some(epoch) = take(&mut self.permits, pick) {
                        self.core.failed(epoch, now, 0.5);
                    }
                }
                Event::Abandoned(pick) => {
                    if let Some(epoch) = take(&mut self.permits, pick) {
                        self.core.abandoned(epoch);
                    }
                }
                Event::ProbePassed(pick) => {
                    if let Some(epoch) = take(&mut self.probes, pick) {
                        self.core.probe_passed(epoch);
                    }
                }
                Event::ProbeFailed(pick) => {
                    if let Some(epoch) = take(&mut self.probes, pick) {
                        self.core.probe_failed(epoch, now, 0.5);
                    }
                }
                Event::ProbeAbandoned(pick) => {
                    if let Some(epoch) = take(&mut self.probes, pick) {
                        self.core.probe_abandoned(epoch);
                    }
                }
            }
        }

        fn outstanding(&self, of: &[Epoch]) -> usize {
            of.iter().filter(|epoch| **epoch == self.core.epoch).count()
        }
    }

    proptest! {
        #[test]
        fn while_it_is_not_closed_one_probes_or_one_tries_and_never_both(events in events()) {
            let mut drive = Drive::new();
            for event in &events {
                drive.apply(event);
                let (probes, trials) = (drive.outstanding(&drive.probes), drive.outstanding(&drive.permits));
                if drive.core.is_closed() {
                    prop_assert_eq!(probes, 0);
                } else {
                    prop_assert!(probes + trials <= 1, "{} probes, {} trials", probes, trials);
                }
            }
        }

        #[test]
        fn it_always_recovers_from_wherever_it_is(events in events()) {
            let mut drive = Drive::new();
            for event in &events {
                drive.apply(event);
            }
            // Everyone who is out comes back with nothing learnt; then the database answers.
            for epoch in std::mem::take(&mut drive.permits) {
                drive.core.abandoned(epoch);
            }
            for epoch in std::mem::take(&mut drive.probes) {
                drive.core.probe_abandoned(epoch);
            }
            let mut sizes = Vec::new();
            for _ in 0..20 {
                match drive.ask() {
                    Answer::Go { epoch, size } => {
                        sizes.push(size);
                        drive.core.passed(epoch, drive.now);
                    }
                    Answer::Probe { epoch } => drive.core.probe_passed(epoch),
                    Answer::WaitUntil(at) => {
                        prop_assert!(at - drive.now <= Duration::from_secs(10));
                        drive.now = at;
                    }
                    Answer::Wait => prop_assert!(false, "everyone waits and nobody is out"),
                }
            }
            prop_assert!(drive.core.is_closed());
            prop_assert!(sizes.windows(2).all(|pair| pair[1] == usize::MAX || pair[1] == 2 * pair[0]), "{:?}", sizes);
        }

        #[test]
        fn the_wait_between_probes_grows_to_its_limit_and_never_beyond(failures in 0..200_u32, chance in 0.0..=1.0) {
            let core = Core::new(BreakerConfig::default());
            let whole = 100_u64.saturating_mul(2_u64.saturating_pow(failures)).min(10_000);
            let delay = core.delay(failures, chance);
            prop_assert!(delay >= Duration::from_millis(whole / 2) && delay <= Duration::from_millis(whole));
        }
    }

    #[test]
    fn a_batch_that_began_before_the_outage_says_nothing_about_its_end() {
        let mut core = Core::new(BreakerConfig::default());
        let now = Instant::now();
        let Answer::Go { epoch: early, .. } = core.ask(now) else { panic!("not closed") };
        let Answer::Go { epoch, .. } = core.ask(now) else { panic!("not closed") };
        assert!(core.failed(epoch, now, 0.0));
        assert!(!core.failed(early, now, 0.0), "the same outage is counted once");
        assert_eq!(core.passed(early, now), None);
        assert_eq!(core.ask(now), Answer::WaitUntil(now + Duration::from_millis(50)));
    }

    #[test]
    fn a_probe_leads_to_one_message_and_from_there_to_whole_batches() {
        let mut core = Core::new(BreakerConfig { ramp_until: 8, ..BreakerConfig::default() });
        let start = Instant::now();
        let Answer::Go { epoch, .. } = core.ask(start) else { panic!("not closed") };
        core.failed(epoch, start, 1.0);
        let later = start + Duration::from_secs(5);
        let Answer::Probe { epoch } = core.ask(later) else { panic!("no probe") };
        core.probe_passed(epoch);
        for expected in [1, 2, 4] {
            let Answer::Go { epoch, size } = core.ask(later) else { panic!("no trial") };
            assert_eq!(size, expected);
            assert_eq!(core.ask(later), Answer::Wait, "one trial at a time");
            let closed = core.passed(epoch, later);
            assert_eq!(closed, (expected == 4).then_some(Duration::from_secs(5)));
        }
        assert!(core.is_closed());
    }
}
