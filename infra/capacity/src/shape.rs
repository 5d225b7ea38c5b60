//! When requests arrive: planned before the first one is sent.

use std::time::Duration;

/// A stretch of constant rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Requests per second; 0 is a pause.
    pub rate_per_s: f64,
    /// How long it lasts.
    pub lasts: Duration,
}

/// Phases one after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shape(Vec<Phase>);

impl Shape {
    /// These phases, in this order.
    pub fn new(phases: impl Into<Vec<Phase>>) -> Self {
        Self(phases.into())
    }

    /// A trickle at `base_per_s`, then a spike of `factor` times that, then the trickle again.
    pub fn spike(base_per_s: f64, factor: f64, before: Duration, spike: Duration, after: Duration) -> Self {
        Self::new([
            Phase { rate_per_s: base_per_s, lasts: before },
            Phase { rate_per_s: base_per_s * factor, lasts: spike },
            Phase { rate_per_s: base_per_s, lasts: after },
        ])
    }

    /// How long the whole lasts.
    pub fn lasts(&self) -> Duration {
        self.0.iter().map(|phase| phase.lasts).sum()
    }

    /// The planned time of every request, counted from the start; evenly spaced within a phase.
    pub fn arrivals(&self) -> impl Iterator<Item = Duration> + '_ {
        let mut begin = Duration::ZERO;
        self.0.iter().flat_map(move |phase| {
            let from = begin;
            begin += phase.lasts;
            let rate = phase.rate_per_s;
            let end = from + phase.lasts;
            (0_u32..)
                .map_while(move |n| (rate > 0.0).then(|| from + Duration::from_secs_f64(f64::from(n) / rate)))
                .take_while(move |at| *at < end)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_spike_sends_ten_times_as_much_while_it_lasts() {
        let second = Duration::from_secs(1);
        let shape = Shape::spike(10.0, 10.0, second, second, second);
        let arrivals: Vec<_> = shape.arrivals().collect();
        let within = |from: u64, to: u64| {
            arrivals.iter().filter(|at| (Duration::from_secs(from)..Duration::from_secs(to)).contains(*at)).count()
        };
        assert_eq!((within(0, 1), within(1, 2), within(2, 3)), (10, 100, 10));
    }

    proptest! {
        #[test]
        fn arrivals_never_go_back_and_a_pause_sends_nothing(
            phases in prop::collection::vec((prop_oneof![Just(0.0), 1.0..500.0], 0_u64..2_000), 0..6),
        ) {
            let phases: Vec<_> = phases
                .into_iter()
                .map(|(rate_per_s, ms)| Phase { rate_per_s, lasts: Duration::from_millis(ms) })
                .collect();
            let planned: f64 = phases.iter().map(|phase| (phase.rate_per_s * phase.lasts.as_secs_f64()).ceil()).sum();
            let shape = Shape::new(phases);
            let arrivals: Vec<_> = shape.arrivals().collect();
            prop_assert!(arrivals.is_sorted());
            prop_assert!(arrivals.iter().all(|at| *at < shape.lasts()));
            let sent = f64::from(u32::try_from(arrivals.len()).unwrap());
            prop_assert!((sent - planned).abs() <= 6.0);
        }
    }
}
