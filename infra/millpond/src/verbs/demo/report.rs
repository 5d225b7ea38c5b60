//! What the demo measured, for scripts and in one sentence for people.

use capacity::Finding;
use serde::Serialize;

/// Everything here was measured from outside: arrivals and answers by the generator, the rest by reading the database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    /// Orders accepted in the fullest second.
    pub(super) peak_in_per_s: u64,
    /// Orders that the database took in its fullest second.
    pub(super) peak_db_per_s: u64,
    /// Orders answered 202.
    pub(super) accepted: u64,
    /// Orders answered anything else, or not at all.
    pub(super) not_accepted: u64,
    /// Accepted orders that were confirmed.
    pub(super) confirmed: u64,
    /// Accepted orders that were rejected (the campaign article sells out).
    pub(super) rejected: u64,
    /// Accepted orders without an outcome: 0, or Millpond is broken.
    pub(super) lost: u64,
    /// Orders that took their units twice: 0, or Millpond is broken.
    pub(super) duplicated: u64,
    /// Units promised beyond what there was: 0, or Millpond is broken.
    pub(super) oversold: u64,
    /// From the end of the spike until its last order had its outcome, seconds.
    pub(super) drained_in_s: f64,
    /// 99th percentile of the answers' latency from their planned times, milliseconds.
    pub(super) p99_ms: f64,
}

impl Report {
    /// Whether every promise was kept.
    pub(super) fn is_clean(&self) -> bool {
        self.accepted > 0 && self.lost == 0 && self.duplicated == 0 && self.oversold == 0
    }

    /// Takes over what the oracle found. Orders that nobody attempted count as duplicates: an effect without a cause.
    pub(super) fn with_finding(self, found: &Finding) -> Self {
        Self {
            accepted: found.accepted,
            confirmed: found.confirmed,
            rejected: found.rejected,
            lost: found.lost,
            duplicated: found.duplicated + found.unexpected,
            oversold: found.oversold,
            ..self
        }
    }

    /// The one sentence.
    pub(super) fn sentence(&self) -> String {
        format!(
            "At most {} orders/s came in and the database was given at most {}/s; the spike was drained in {:.1} s; of {} \
             accepted orders {} were confirmed and {} rejected, {} lost, {} duplicated, {} units oversold; 99% of the \
             answers came within {:.1} ms.",
            self.peak_in_per_s,
            self.peak_db_per_s,
            self.drained_in_s,
            self.accepted,
            self.confirmed,
            self.rejected,
            self.lost,
            self.duplicated,
            self.oversold,
            self.p99_ms,
        )
    }

    /// As JSON, with a line break at the end.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            peak_in_per_s: 1_500,
            peak_db_per_s: 600,
            accepted: 10,
            not_accepted: 0,
            confirmed: 9,
            rejected: 1,
            lost: 0,
            duplicated: 0,
            oversold: 0,
            drained_in_s: 3.2,
            p99_ms: 4.5,
        }
    }

    #[test]
    fn a_run_is_clean_only_where_every_promise_was_kept() {
        assert!(report().is_clean());
        for broken in [
            Report { lost: 1, ..report() },
            Report { duplicated: 1, ..report() },
            Report { oversold: 1, ..report() },
            Report { accepted: 0, ..report() },
        ] {
            assert!(!broken.is_clean(), "{broken:?}");
        }
    }

    #[test]
    fn the_json_has_the_fields_that_scripts_read() {
        let json = serde_json::to_value(report()).unwrap();
        for field in [
            "peak_in_per_s",
            "peak_db_per_s",
            "accepted",
            "confirmed",
            "rejected",
            "lost",
            "duplicated",
            "oversold",
            "drained_in_s",
            "p99_ms",
        ] {
            assert!(json.get(field).is_some_and(serde_json::Value::is_number), "{field}");
        }
    }

    #[test]
    fn an_order_that_nobody_attempted_spoils_the_run() {
        let found = Finding { accepted: 1, confirmed: 1, unexpected: 1, ..Finding::default() };
        assert!(!report().with_finding(&found).is_clean());
    }
}
