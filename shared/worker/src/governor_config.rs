//! Settings of governors.

use std::time::Duration;

use flow::{Steadiness, shares};
use serde::{Deserialize, Serialize};

use crate::Error;

/// How a database's budget is shared, paced and adapted. The budget itself belongs to the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GovernorConfig {
    /// How long a lease lasts, milliseconds: the share of a process that died is unused for so long.
    pub lease_ms: u64,
    /// How often a lease is renewed, milliseconds; half of `lease_ms` or less. A consumer that has less than it should
    /// have, and one whose renewal failed, asks five times as often.
    pub renew_ms: u64,
    /// Without a budget: how often to look whether one was written into the database, milliseconds.
    pub look_ms: u64,
    /// What a batch is worth where one consumer has the whole budget, as milliseconds of it; a quarter of the budget has
    /// batches twice as far apart. Silence saves up as much. Less is steadier, more is cheaper.
    pub slice_ms: u64,
    /// The part of the budget that analytics has although checkout could use it, 0 to 1.
    pub analytics_least: f64,
    /// Whether less is given out while commits are slow.
    pub adaptive: bool,
    /// Commits are slow when their median takes so many times as long as in good times …
    pub slow_factor: f64,
    /// … and this much longer, milliseconds.
    pub slow_by_ms: u64,
    /// What is given out is multiplied with this for each renewal that finds commits slow, above 0 and below 1.
    pub lower_to: f64,
    /// How much of the budget comes back per second while they are not, above 0.
    pub raise_per_s: f64,
    /// What is given out in any case, above 0 to 1.
    pub floor: f64,
    /// How quickly "good times" follow what is seen, seconds; ten times as slowly while the budget is lowered.
    pub baseline_s: u64,
}

impl Default for GovernorConfig {
    fn default() -> Self {
        Self {
            lease_ms: 3_000,
            renew_ms: 1_000,
            look_ms: 5_000,
            slice_ms: 20,
            analytics_least: 0.1,
            adaptive: true,
            slow_factor: 3.0,
            slow_by_ms: 50,
            lower_to: 0.8,
            raise_per_s: 0.02,
            floor: 0.2,
            baseline_s: 60,
        }
    }
}

impl GovernorConfig {
    /// Whether these settings can work.
    ///
    /// # Errors
    /// [`Error::Config`], which names the setting and what it must be.
    pub fn check(&self) -> Result<(), Error> {
        let above = |least: f64, value: f64| value > least && value.is_finite();
        let fraction = |value: f64| (0.0..=1.0).contains(&value);
        let wrong = [
            ("renew_ms", "10 to half of governor.lease_ms", self.renew_ms < 10 || self.renew_ms > self.lease_ms / 2),
            ("lease_ms", "at most 600000, ten minutes", self.lease_ms > 600_000),
            ("look_ms", "10 or more", self.look_ms < 10),
            ("slice_ms", "1 to 1000", !(1..=1_000).contains(&self.slice_ms)),
            ("analytics_least", "0 to 1", !fraction(self.analytics_least)),
            ("slow_factor", "above 1", !above(1.0, self.slow_factor)),
            ("lower_to", "above 0 and below 1", !above(0.0, self.lower_to) || self.lower_to >= 1.0),
            ("raise_per_s", "above 0", !above(0.0, self.raise_per_s)),
            ("floor", "above 0, to 1", !above(0.0, self.floor) || self.floor > 1.0),
            ("baseline_s", "1 or more", self.baseline_s == 0),
        ];
        match wrong.iter().find(|(.., wrong)| *wrong) {
            Some((name, must, _)) => Err(Error::Config(format!("governor.{name} must be {must}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn renew(&self) -> Duration {
        Duration::from_millis(self.renew_ms)
    }

    pub(crate) fn look(&self) -> Duration {
        Duration::from_millis(self.look_ms)
    }

    pub(crate) fn slice(&self) -> Duration {
        Duration::from_millis(self.slice_ms)
    }

    /// In parts of the whole.
    pub(crate) fn kept_for_analytics(&self) -> u32 {
        shares::parts(self.analytics_least)
    }

    pub(crate) fn steadiness(&self) -> Steadiness {
        Steadiness {
            slow_factor: self.slow_factor,
            slow_by: Duration::from_millis(self.slow_by_ms),
            lower_to: self.lower_to,
            raise_per_s: self.raise_per_s,
            floor: self.floor,
            baseline: Duration::from_secs(self.baseline_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_work_and_what_can_not_is_named() {
        GovernorConfig::default().check().unwrap();
        let refused = |change: fn(&mut GovernorConfig)| {
            let mut config = GovernorConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|config| config.renew_ms = 2_000).contains("governor.renew_ms must be 10 to half of"));
        assert!(refused(|config| config.lower_to = 1.0).contains("governor.lower_to"));
        assert!(refused(|config| config.floor = 0.0).contains("governor.floor"));
        assert!(refused(|config| config.slow_factor = f64::NAN).contains("governor.slow_factor"));
        assert!(refused(|config| config.analytics_least = 1.5).contains("governor.analytics_least must be 0 to 1"));
    }
}
