//! When a queue will be empty.

use std::time::Duration;

use crate::meter::exact;

/// What a queue does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Drain {
    /// Nothing waits.
    Empty,
    /// More leaves than arrives: empty after this long, if both rates stay.
    In(Duration),
    /// At least as much arrives as leaves: it will not empty by itself.
    Growing,
    /// A rate is not known yet, or its telemetry is lost. Never shown as zero.
    Unknown,
}

impl Drain {
    /// The estimate for `waiting` messages at these rates per second: waiting / (leaving - arriving).
    pub fn estimate(waiting: u64, arriving: Option<f64>, leaving: Option<f64>) -> Self {
        if waiting == 0 {
            return Self::Empty;
        }
        let (Some(arriving), Some(leaving)) = (arriving, leaving) else { return Self::Unknown };
        let net = leaving - arriving;
        if net <= f64::EPSILON {
            return Self::Growing;
        }
        Duration::try_from_secs_f64(exact(waiting) / net).map_or(Self::Growing, Self::In)
    }
}

/// The queue in one sentence, for a terminal or a dashboard.
pub fn sentence(waiting: u64, drain: Drain) -> String {
    let waiting = grouped(waiting);
    match drain {
        Drain::Empty => "Keeping up: nothing waits.".to_owned(),
        Drain::In(time) if time < Duration::from_secs(1) => format!("Keeping up: {waiting} waiting, clear at once."),
        Drain::In(time) => format!("Draining: {waiting} waiting, clear in {} s.", time.as_secs_f64().ceil()),
        Drain::Growing => format!("Absorbing a spike: {waiting} waiting, and still growing."),
        Drain::Unknown => format!("{waiting} waiting; the rates are not known yet."),
    }
}

/// A number with thousands separated: 18,400.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drain_time_is_what_waits_over_the_net_rate() {
        assert_eq!(Drain::estimate(1_000, Some(100.0), Some(300.0)), Drain::In(Duration::from_secs(5)));
        assert_eq!(Drain::estimate(1_000, Some(300.0), Some(300.0)), Drain::Growing);
        assert_eq!(Drain::estimate(0, None, None), Drain::Empty);
    }

    #[test]
    fn a_rate_that_is_not_known_is_never_taken_for_zero() {
        assert_eq!(Drain::estimate(5, None, Some(100.0)), Drain::Unknown);
        assert_eq!(Drain::estimate(5, Some(0.0), None), Drain::Unknown);
    }

    #[test]
    fn the_sentence_reads_as_a_person_would_say_it() {
        assert_eq!(
            sentence(18_400, Drain::In(Duration::from_millis(40_100))),
            "Draining: 18,400 waiting, clear in 41 s."
        );
        assert_eq!(sentence(1_234_567, Drain::Growing), "Absorbing a spike: 1,234,567 waiting, and still growing.");
        assert_eq!(sentence(0, Drain::Empty), "Keeping up: nothing waits.");
    }
}
