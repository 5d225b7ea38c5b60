//! When requests arrive: planned before the first one is sent.

use std::time::Duration;

/// A stretch in which the rate goes in a straight line from one value to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Requests per second at its begin; 0 or more.
    pub from_per_s: f64,
    /// Requests per second at its end; 0 or more.
    pub to_per_s: f64,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Phase {
    /// A stretch of one rate; 0 is a pause.
    pub fn constant(per_s: f64, lasts: Duration) -> Self {
        Self { from_per_s: per_s, to_per_s: per_s, lasts }
    }

    /// Requests that it plans, with their fraction.
    fn requests(&self) -> f64 {
        f64::midpoint(self.from_per_s, self.to_per_s) * self.lasts.as_secs_f64()
    }

    /// When so many of its requests are planned, seconds from its begin. The rate is `from + slope t`, so the number is
    /// `from t + slope t² / 2`; this is its inverse, in the form that stays exact where the slope is small.
    fn time_of(&self, requests: f64) -> f64 {
        let seconds = self.lasts.as_secs_f64();
        let slope = (self.to_per_s - self.from_per_s) / seconds;
        let root = (self.from_per_s * self.from_per_s + 2.0 * slope * requests).max(0.0).sqrt();
        let denominator = self.from_per_s + root;
        if denominator <= 0.0 { 0.0 } else { (2.0 * requests / denominator).min(seconds) }
    }
}

/// Phases one after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shape(Vec<Phase>);

/// A request that is due by less than this fraction of one belongs to the phase before: sums of fractions are not exact.
const ROUNDING: f64 = 1e-6;

impl Shape {
    /// These phases, in this order.
    pub fn new(phases: impl Into<Vec<Phase>>) -> Self {
        Self(phases.into())
    }

    /// One rate.
    pub fn constant(per_s: f64, lasts: Duration) -> Self {
        Self::new([Phase::constant(per_s, lasts)])
    }

    /// From one rate to another, in a straight line.
    pub fn ramp(from_per_s: f64, to_per_s: f64, lasts: Duration) -> Self {
        Self::new([Phase { from_per_s, to_per_s, lasts }])
    }

    /// A trickle at `base_per_s`, then a spike of `factor` times that, then the trickle again.
    pub fn spike(base_per_s: f64, factor: f64, before: Duration, spike: Duration, after: Duration) -> Self {
        Self::new([
            Phase::constant(base_per_s, before),
            Phase::constant(base_per_s * factor, spike),
            Phase::constant(base_per_s, after),
        ])
    }

    /// How long the whole lasts.
    pub fn lasts(&self) -> Duration {
        self.0.iter().map(|phase| phase.lasts).sum()
    }

    /// How many requests it plans, to one.
    pub fn requests(&self) -> f64 {
        self.0.iter().map(Phase::requests).sum()
    }

    /// The highest rate that it reaches, per second.
    pub fn peak_per_s(&self) -> f64 {
        self.0.iter().fold(0.0, |peak, phase| peak.max(phase.from_per_s).max(phase.to_per_s))
    }

    /// The planned time of every request, counted from the start. They are spread evenly, as the rate has it: request `n`
    /// comes when the planned number reaches `n`. What is left of a fraction at the end of a phase counts in the next.
    pub fn arrivals(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let mut begin = Duration::ZERO;
        let mut before = 0.0;
        self.0.clone().into_iter().filter(|phase| !phase.lasts.is_zero()).flat_map(move |phase| {
            let (from, planned) = (begin, before);
            begin += phase.lasts;
            before += phase.requests();
            let last = before - ROUNDING;
            let first = (planned - ROUNDING).ceil().max(0.0);
            let end = begin;
            std::iter::successors(Some(first), |n| Some(n + 1.0)).take_while(move |n| *n < last).map(move |n| {
                let at = from + Duration::from_secs_f64(phase.time_of((n - planned).max(0.0)));
                at.min(end.saturating_sub(Duration::from_nanos(1)))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn within(shape: &Shape, from: u64, to: u64) -> usize {
        let seconds = Duration::from_secs(from)..Duration::from_secs(to);
        shape.arrivals().filter(|at| seconds.contains(at)).count()
    }

    #[test]
    fn a_spike_sends_ten_times_as_much_while_it_lasts() {
        let shape = Shape::spike(10.0, 10.0, SECOND, SECOND, SECOND);
        assert_eq!((within(&shape, 0, 1), within(&shape, 1, 2), within(&shape, 2, 3)), (10, 100, 10));
    }

    #[test]
    fn a_ramp_grows_by_the_same_number_each_second() {
        let shape = Shape::ramp(0.0, 40.0, 4 * SECOND);
        let each: Vec<usize> = (0..4).map(|second| within(&shape, second, second + 1)).collect();
        assert_eq!(each, [5, 15, 25, 35]);
        let falling = Shape::ramp(40.0, 0.0, 4 * SECOND);
        assert_eq!(falling.arrivals().count(), 80);
    }

    #[test]
    fn fractions_of_a_request_add_up_over_phases() {
        let seconds = vec![Phase::constant(0.25, SECOND); 8];
        assert_eq!(Shape::new(seconds).arrivals().count(), 2);
    }

    proptest! {
        #[test]
        fn arrivals_never_go_back_and_are_as_many_as_the_rates_say(
            phases in prop::collection::vec(
                (prop_oneof![Just(0.0), 1.0..500.0], prop_oneof![Just(0.0), 1.0..500.0], 0_u64..2_000), 0..6,
            ),
        ) {
            let phases: Vec<_> = phases
                .into_iter()
                .map(|(from_per_s, to_per_s, ms)| Phase { from_per_s, to_per_s, lasts: Duration::from_millis(ms) })
                .collect();
            let shape = Shape::new(phases);
            let arrivals: Vec<_> = shape.arrivals().collect();
            prop_assert!(arrivals.is_sorted());
            prop_assert!(arrivals.iter().all(|at| *at < shape.lasts()));
            let sent = f64::from(u32::try_from(arrivals.len()).unwrap());
            prop_assert!((sent - shape.requests()).abs() <= 1.0, "{sent} of {}", shape.requests());
        }

        #[test]
        fn every_second_of_a_constant_rate_has_as_many(per_s in 1_u32..2_000, seconds in 1_u64..5) {
            let shape = Shape::constant(f64::from(per_s), Duration::from_secs(seconds));
            for second in 0..seconds {
                let count = u32::try_from(within(&shape, second, second + 1)).unwrap();
                prop_assert!(count.abs_diff(per_s) <= 1, "{count} in second {second}");
            }
        }
    }
}
