//! What is sent: a function of the seed and a request's number, so that a run can be repeated.

use rand::distr::weighted::WeightedIndex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Its SKU.
    pub sku: String,
    /// Minor units, 0 or more.
    pub unit_price_minor: i64,
}

/// Which article an order takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Popularity {
    /// One after the other.
    InTurn,
    /// By Zipf's law: the article on rank `k` (as listed, from 1) is ordered `1 / k^s` times as often as the first. 0 is
    /// all alike, 1 what shops see.
    Zipf(f64),
}

/// Page events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// One in each request, to `/v1/page`.
    Single,
    /// So many in each request, to `/v1/batch`.
    Batch(u32),
}

impl Events {
    /// Events in a request.
    pub fn per_request(self) -> u32 {
        match self {
            Self::Single => 1,
            Self::Batch(count) => count,
        }
    }
}

/// What one request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An order of one unit.
    Order {
        /// Position among the articles.
        article: u32,
    },
    /// Page events.
    Events {
        /// How many.
        count: u32,
    },
}

/// The mix of a run.
#[derive(Debug, Clone)]
pub struct Mix {
    run: String,
    seed: u64,
    currency: String,
    articles: Vec<Article>,
    popularity: Option<WeightedIndex<f64>>,
    events: Option<Events>,
    orders_share: f64,
}

/// Why a mix can't be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// Neither articles nor events.
    #[error("there is nothing to send: neither articles to order nor page events")]
    Nothing,
    /// The exponent of Zipf's law.
    #[error("the exponent of the popularity must be a number from 0 to 10")]
    Exponent,
    /// Characters that a header or JSON would need to escape.
    #[error("{0:?} must consist of letters, digits and -._~ alone")]
    Text(String),
    /// Events in one request.
    #[error("a request holds 1 to 2500 events")]
    EventsPerRequest,
}

/// As many as Segment's clients send, and the ingress takes.
const MAX_EVENTS: u32 = 2_500;

impl Mix {
    /// Orders of `articles`. `run` begins every idempotency key and message id: two runs must never share one.
    ///
    /// # Errors
    /// [`MixError`].
    pub fn orders(
        run: &str,
        currency: &str,
        articles: Vec<Article>,
        popularity: Popularity,
        seed: u64,
    ) -> Result<Self, MixError> {
        if articles.is_empty() {
            return Err(MixError::Nothing);
        }
        plain(run)?;
        plain(currency)?;
        let popularity = match popularity {
            Popularity::InTurn => None,
            Popularity::Zipf(exponent) if (0.0..=10.0).contains(&exponent) => Some(zipf(articles.len(), exponent)?),
            Popularity::Zipf(_) => return Err(MixError::Exponent),
        };
        let (run, currency) = (run.to_owned(), currency.to_owned());
        Ok(Self { run, seed, currency, articles, popularity, events: None, orders_share: 1.0 })
    }

    /// Page events alone.
    ///
    /// # Errors
    /// [`MixError`].
    pub fn events(run: &str, events: Events, seed: u64) -> Result<Self, MixError> {
        plain(run)?;
        let none = Self {
            run: run.to_owned(),
            seed,
            currency: String::new(),
            articles: Vec::new(),
            popularity: None,
            events: None,
            orders_share: 0.0,
        };
        none.with_events(events, 0.0)
    }

    /// The same orders as `orders_share` (0 to 1) of all requests; the rest are page events.
    ///
    /// # Errors
    /// [`MixError::EventsPerRequest`].
    pub fn with_events(self, events: Events, orders_share: f64) -> Result<Self, MixError> {
        if !(1..=MAX_EVENTS).contains(&events.per_request()) {
            return Err(MixError::EventsPerRequest);
        }
        let orders_share = if self.articles.is_empty() { 0.0 } else { orders_share.clamp(0.0, 1.0) };
        Ok(Self { events: Some(events), orders_share, ..self })
    }

    /// What begins every key.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// What randomness begins with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn currency(&self) -> &str {
        &self.currency
    }

    pub(crate) fn articles(&self) -> &[Article] {
        &self.articles
    }

    pub(crate) fn sends_single_events(&self) -> bool {
        self.events == Some(Events::Single)
    }

    /// What request `n` is: the same for the same seed, whichever connection sends it.
    pub fn pick(&self, n: u64) -> What {
        // A generator of its own for each request costs some ten nanoseconds and needs no order among connections.
        let mut random = SmallRng::seed_from_u64(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if let Some(events) = self.events
            && (self.articles.is_empty() || random.random::<f64>() >= self.orders_share)
        {
            return What::Events { count: events.per_request() };
        }
        let article = match &self.popularity {
            None => usize::try_from(n).unwrap_or(usize::MAX) % self.articles.len().max(1),
            Some(popularity) => random.sample(popularity),
        };
        What::Order { article: u32::try_from(article).unwrap_or(0) }
    }
}

fn zipf(articles: usize, exponent: f64) -> Result<WeightedIndex<f64>, MixError> {
    let count = u32::try_from(articles).map_err(|_| MixError::Exponent)?;
    WeightedIndex::new((1..=count).map(|rank| f64::from(rank).powf(-exponent))).map_err(|_| MixError::Exponent)
}

/// What goes into headers and JSON as it is.
fn plain(text: &str) -> Result<(), MixError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !text.is_empty() && text.bytes().all(good) { Ok(()) } else { Err(MixError::Text(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn articles(count: u32) -> Vec<Article> {
        (1..=count).map(|n| Article { sku: format!("SKU-{n}"), unit_price_minor: 1_450 }).collect()
    }

    fn counts(mix: &Mix, requests: u64) -> Vec<u64> {
        let mut counts = vec![0; mix.articles.len()];
        for n in 0..requests {
            if let What::Order { article } = mix.pick(n) {
                counts[article as usize] += 1;
            }
        }
        counts
    }

    #[test]
    fn zipf_with_exponent_one_halves_from_the_first_to_the_second_rank() {
        let mix = Mix::orders("run", "EUR", articles(100), Popularity::Zipf(1.0), 7).unwrap();
        let counts = counts(&mix, 200_000);
        // The first rank has 1/H(100) = 19.3% of all.
        assert!((37_500..39_600).contains(&counts[0]), "{}", counts[0]);
        assert!((18_600..20_000).contains(&counts[1]), "{}", counts[1]);
        assert!(counts[99] > 200, "the last is ordered too: {}", counts[99]);
    }

    #[test]
    fn a_share_of_orders_is_kept_among_events() {
        let orders = Mix::orders("run", "EUR", articles(3), Popularity::InTurn, 1).unwrap();
        let mix = orders.with_events(Events::Batch(100), 0.2).unwrap();
        let orders: u64 = counts(&mix, 10_000).iter().sum();
        assert!((1_850..2_150).contains(&orders), "{orders}");
        let alone = Mix::events("run", Events::Single, 1).unwrap();
        assert_eq!(alone.pick(9), What::Events { count: 1 });
    }

    #[test]
    fn what_can_not_be_sent_is_refused() {
        let refused = |run: &str| Mix::orders(run, "EUR", articles(1), Popularity::InTurn, 1).unwrap_err();
        assert!(matches!(refused("a\r\nb"), MixError::Text(_)));
        assert!(matches!(refused("a\"b"), MixError::Text(_)));
        let none = Mix::orders("run", "EUR", vec![], Popularity::InTurn, 1);
        assert_eq!(none.unwrap_err(), MixError::Nothing);
        let steep = Mix::orders("run", "EUR", articles(1), Popularity::Zipf(f64::NAN), 1);
        assert_eq!(steep.unwrap_err(), MixError::Exponent);
        assert_eq!(Mix::events("run", Events::Batch(0), 1).unwrap_err(), MixError::EventsPerRequest);
    }

    proptest! {
        #[test]
        fn the_same_seed_sends_the_same(seed in any::<u64>(), n in any::<u64>(), exponent in 0.0..3.0) {
            let mix = |seed| Mix::orders("run", "EUR", articles(50), Popularity::Zipf(exponent), seed).unwrap();
            prop_assert_eq!(mix(seed).pick(n), mix(seed).pick(n));
        }
    }
}
