//! The series, by family. One collector writes them all, so that a family that several parts measure is announced once,
//! as the format asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::family::{Family, Kind};
use super::{Counter, Histogram};

type Labels = Vec<(&'static str, String)>;
type Source = Box<dyn Fn(&mut Samples<'_>) + Send + Sync>;

/// Every series of a process.
#[derive(Default)]
pub(super) struct Board {
    shelves: Mutex<BTreeMap<&'static str, Shelf>>,
    sources: Mutex<Vec<Source>>,
}

struct Shelf {
    family: &'static Family,
    live: Vec<(Labels, Live)>,
}

enum Live {
    Counter(Counter),
    Histogram(Histogram),
}

#[derive(Clone, Copy)]
enum Sample {
    Count(u64),
    Fraction(f64),
    Level(f64),
}

/// Where a source tells its values, at one scrape.
pub struct Samples<'a> {
    found: &'a mut BTreeMap<&'static str, Vec<(Labels, Sample)>>,
}

impl Samples<'_> {
    /// A counter's value.
    pub fn count(&mut self, family: &'static Family, labels: &[&str], value: u64) {
        self.add(family, labels, Sample::Count(value));
    }

    /// The value of a counter that is not of whole numbers, such as seconds.
    pub fn fraction(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        self.add(family, labels, Sample::Fraction(value));
    }

    /// A gauge's value.
    pub fn level(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        self.add(family, labels, Sample::Level(value));
    }

    /// A gauge that is a number of things.
    pub fn number(&mut self, family: &'static Family, labels: &[&str], value: u64) {
        #[expect(clippy::cast_precision_loss, reason = "numbers of things stay far below 2^53")]
        self.level(family, labels, value as f64);
    }

    /// A gauge per state of `states`, 1 for the one that holds and 0 for the others; the state is the last label.
    pub fn state(&mut self, family: &'static Family, labels: &[&str], states: &[&str], now: &str) {
        for state in states {
            let labels: Vec<&str> = labels.iter().copied().chain([*state]).collect();
            self.number(family, &labels, u64::from(*state == now));
        }
    }

    fn add(&mut self, family: &'static Family, values: &[&str], sample: Sample) {
        let labels = named(family, values);
        let series = self.found.entry(family.name).or_default();
        // Two sources of one series would make the whole scrape invalid.
        if !series.iter().any(|(known, _)| *known == labels) {
            series.push((labels, sample));
        }
    }
}

impl Board {
    pub(super) fn counter(&self, family: &'static Family, values: &[&str]) -> Counter {
        let find = |live: &Live| match live {
            Live::Counter(counter) => Some(counter.clone()),
            Live::Histogram(_) => None,
        };
        self.live(family, values, find, || (Counter::default(), Live::Counter))
    }

    pub(super) fn histogram(&self, family: &'static Family, values: &[&str]) -> Histogram {
        let Kind::Histogram(buckets) = family.kind else { panic!("{} is not a histogram", family.name) };
        let find = |live: &Live| match live {
            Live::Histogram(histogram) => Some(histogram.clone()),
            Live::Counter(_) => None,
        };
        self.live(family, values, find, || (Histogram::new(buckets.iter().copied()), Live::Histogram))
    }

    fn live<T: Clone>(
        &self,
        family: &'static Family,
        values: &[&str],
        find: impl Fn(&Live) -> Option<T>,
        make: impl FnOnce() -> (T, fn(T) -> Live),
    ) -> T {
        let labels = named(family, values);
        let mut shelves = lock(&self.shelves);
        let place = shelf(&mut shelves, family);
        if let Some(known) = place.live.iter().find(|(known, _)| *known == labels).and_then(|(_, live)| find(live)) {
            return known;
        }
        let (new, wrap) = make();
        place.live.push((labels, wrap(new.clone())));
        new
    }

    pub(super) fn sample(&self, families: &[&'static Family], source: Source) {
        let mut shelves = lock(&self.shelves);
        for family in families {
            shelf(&mut shelves, family);
        }
        drop(shelves);
        lock(&self.sources).push(source);
    }

    pub(super) fn families(&self) -> Vec<&'static Family> {
        lock(&self.shelves).values().map(|shelf| shelf.family).collect()
    }

    fn ask_sources(&self) -> BTreeMap<&'static str, Vec<(Labels, Sample)>> {
        let mut found = BTreeMap::new();
        for source in lock(&self.sources).iter() {
            source(&mut Samples { found: &mut found });
        }
        found
    }
}

impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = self.ask_sources();
        for (name, shelf) in lock(&self.shelves).iter() {
            let Family { help, kind, .. } = shelf.family;
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram(_) => MetricType::Histogram,
            };
            let mut writer = encoder.encode_descriptor(shelf.family.stem(), help, None, kind)?;
            let mut series: BTreeMap<&Labels, Value<'_>> = BTreeMap::new();
            series.extend(shelf.live.iter().map(|(labels, live)| (labels, Value::Live(live))));
            let told = samples.remove(name).unwrap_or_default();
            for (labels, sample) in &told {
                series.entry(labels).or_insert(Value::Sample(*sample));
            }
            for (labels, value) in series {
                // An empty set of labels would be written as `{}`, which some parsers refuse.
                if labels.is_empty() {
                    value.write(writer)?;
                    break;
                }
                value.write(writer.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

/// A series at one scrape.
enum Value<'a> {
    Live(&'a Live),
    Sample(Sample),
}

impl Value<'_> {
    fn write(&self, writer: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Live(Live::Counter(counter)) => counter.encode(writer),
            Self::Live(Live::Histogram(histogram)) => histogram.encode(writer),
            Self::Sample(Sample::Count(value)) => ConstCounter::new(*value).encode(writer),
            Self::Sample(Sample::Fraction(value)) => ConstCounter::new(*value).encode(writer),
            Self::Sample(Sample::Level(value)) => ConstGauge::new(*value).encode(writer),
        }
    }
}

fn shelf<'a>(shelves: &'a mut BTreeMap<&'static str, Shelf>, family: &'static Family) -> &'a mut Shelf {
    let shelf = shelves.entry(family.name).or_insert_with(|| Shelf { family, live: Vec::new() });
    debug_assert_eq!(family.fault(), None);
    assert_eq!(shelf.family, family, "two families are named {}", family.name);
    shelf
}

fn named(family: &'static Family, values: &[&str]) -> Labels {
    assert_eq!(family.labels.len(), values.len(), "{} has the labels {:?}", family.name, family.labels);
    family.labels.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect()
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

/// A panic elsewhere leaves what these hold whole: it is added to, one value at a time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
