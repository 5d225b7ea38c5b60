//! A family of series: one name, one meaning.

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations, counted in buckets with these upper bounds, ascending; one above them all is added.
    Histogram(&'static [f64]),
}

/// A name with its meaning and labels, declared as a `static` by the crate that measures it.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// In full, as it is scraped: prefix, what, base unit, and `_total` for a counter.
    pub name: &'static str,
    /// One line for people, without a full stop.
    pub help: &'static str,
    /// What its series are.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// Suffixes that say what a value is: base units, and the words that stand for a plain number.
const UNITS: [&str; 4] = ["_seconds", "_bytes", "_ratio", "_info"];

impl Family {
    /// A counter; the name must end in `_total`.
    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Counter, labels }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Gauge, labels }
    }

    /// A histogram with buckets of these upper bounds.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        buckets: &'static [f64],
    ) -> Self {
        Self { name, help, kind: Kind::Histogram(buckets), labels }
    }

    /// The name as the encoder wants it: it adds a counter's `_total` itself.
    pub(super) fn stem(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram(_) => self.name,
        }
    }

    /// What is wrong with the declaration; the first rule that it breaks. Registering asserts in debug builds that
    /// there is none, so that every test does.
    pub fn fault(&self) -> Option<String> {
        let plain = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let name = self.name;
        let is_total = name.ends_with("_total");
        let holds_time = ["duration", "age", "latency", "lag"].iter().any(|word| name.contains(&format!("_{word}")));
        let rules = [
            (name.starts_with("millpond_"), "must start with millpond_"),
            (plain(name) && !name.contains("__"), "must be of lower case letters, digits and single underscores"),
            (is_total == (self.kind == Kind::Counter), "must end in _total if it is a counter, and only then"),
            (!holds_time || name.contains("_seconds"), "holds a time, so it must be in seconds"),
            (
                !["_ms", "_milliseconds", "_kib", "_percent", "_count"].iter().any(|bad| name.ends_with(bad)),
                "must be in a base unit, and leave _count to histograms",
            ),
            (
                !matches!(self.kind, Kind::Histogram(_))
                    || UNITS.iter().any(|unit| name.ends_with(unit))
                    || name.ends_with("_messages"),
                "is a histogram, so it must say its unit",
            ),
            (self.labels.iter().all(|label| plain(label)), "has a label that is not in lower case"),
            (
                !self.labels.iter().any(|label| label.ends_with("_id") || *label == "id" || *label == "key"),
                "has a label that names single things: their number has no bound",
            ),
            (
                self.help.len() >= 15 && self.help.starts_with(|c: char| c.is_ascii_uppercase()),
                "needs a help text that reads as a line",
            ),
            (
                !self.help.ends_with('.') && !self.help.contains(['\n', '\\']),
                "needs a help text of one line without a full stop",
            ),
        ];
        let broken = rules.into_iter().find(|(holds, _)| !holds);
        broken.map(|(_, rule)| format!("{name} {rule}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_breaks_a_rule_is_told() {
        let help = "A help text that is long enough";
        let fault = |family: Family| family.fault().unwrap_or_default();
        assert_eq!(fault(Family::counter("millpond_orders_total", help, &["queue"])), "");
        assert!(fault(Family::counter("orders_total", help, &[])).contains("start with millpond_"));
        assert!(fault(Family::counter("millpond_orders", help, &[])).contains("_total"));
        assert!(fault(Family::gauge("millpond_orders_total", help, &[])).contains("_total"));
        assert!(fault(Family::gauge("millpond_oldest_age", help, &[])).contains("seconds"));
        assert!(fault(Family::gauge("millpond_size_kib", help, &[])).contains("base unit"));
        assert!(fault(Family::gauge("millpond_size_bytes", help, &["order_id"])).contains("no bound"));
        assert!(fault(Family::gauge("millpond_size_bytes", "short", &[])).contains("help text"));
        assert!(fault(Family::histogram("millpond_batch", help, &[], &[1.0])).contains("unit"));
    }
}
