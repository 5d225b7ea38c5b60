//! The role: what it is given, and its life.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use broker::{Broker, BrokerError, BrokerState, ExchangeName, Publish, PublishError, QueueName, layout};
use flow::Class;
use model::{Clock, Currency, MarketId, RegionName, RegionNumber, TokenKey};
use service::keys::ApiKeys;
use service::metrics::Metrics;
use service::{Condition, Readiness, Shutdown, Tasks, http};
use tokio::sync::Mutex;

use crate::config::Config;
use crate::gate::{Bounds, Gate};
use crate::meters::show_lanes;
use crate::orders::Recent;
use crate::pressure::{Lane, Pressure};
use crate::valve::Valve;
use crate::{orders, pages, router};

/// What the ingress is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Where orders go.
    pub orders: Arc<dyn Broker>,
    /// Where page events go; may be the same broker.
    pub events: Arc<dyn Broker>,
    /// Whether both go to one server, so that one fills it for the other.
    pub one_broker: bool,
    /// Every region of the shop, with its permanent number.
    pub regions: BTreeMap<RegionName, RegionNumber>,
    /// Who may call.
    pub keys: ApiKeys,
    /// Signs status URLs; the storefront's is the same.
    pub token_key: TokenKey,
    /// The time of acceptance comes from it.
    pub clock: Arc<dyn Clock>,
    /// Where it says that it is ready.
    pub readiness: Readiness,
    /// What it measures.
    pub metrics: Metrics,
}

/// Why the ingress can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can't work.
    #[error("[ingress] {0}")]
    Setting(String),
    /// There is no market.
    #[error("no market is configured: add an [[ingress.market]] with id, region and currency")]
    NoMarket,
    /// Two markets have one id.
    #[error("the market {0} is configured twice")]
    MarketTwice(MarketId),
    /// A market is in a region that nobody knows.
    #[error("the market {market} is in the region {region}, which is not configured; known are: {known}")]
    UnknownRegion {
        /// Which market.
        market: MarketId,
        /// The region it names.
        region: RegionName,
        /// The regions there are.
        known: String,
    },
    /// The queues can't be declared, and waiting would not help.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Config {
    /// Whether the role can start with these settings in a shop of these regions.
    ///
    /// # Errors
    /// [`Error`] names the setting and what it must be.
    pub fn check(&self, regions: &BTreeMap<RegionName, RegionNumber>) -> Result<(), Error> {
        match self.fault() {
            Some(fault) => Err(Error::Setting(fault)),
            None => markets(self, regions).map(drop),
        }
    }
}

/// A market with all that a request needs of it.
#[derive(Debug)]
pub(crate) struct MarketEntry {
    pub(crate) number: RegionNumber,
    pub(crate) currency: Currency,
    pub(crate) routing_key: String,
    /// Of its region's queue.
    pub(crate) valve: Arc<Valve>,
    /// Its region's queue.
    pub(crate) queue: QueueName,
}

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) orders: Arc<dyn Broker>,
    pub(crate) events: Arc<dyn Broker>,
    pub(crate) orders_exchange: ExchangeName,
    pub(crate) pages_exchange: ExchangeName,
    pub(crate) markets: HashMap<MarketId, Arc<MarketEntry>>,
    pub(crate) keys: ApiKeys,
    pub(crate) token_key: TokenKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recent: Recent,
    pub(crate) orders_gate: Gate,
    pub(crate) events_gate: Gate,
    pub(crate) events_valve: Arc<Valve>,
    pub(crate) tasks: Tasks,
}

impl Shared {
    /// The door of a class; nobody edits the catalogue here.
    pub(crate) fn gate(&self, class: Class) -> &Gate {
        match class {
            Class::Orders => &self.orders_gate,
            Class::Catalogue | Class::Events => &self.events_gate,
        }
    }

    /// What stands before the paths of URLs that this process gives out.
    pub(crate) fn public_url(&self) -> &str {
        self.config.public_url.trim_end_matches('/')
    }

    pub(crate) fn body_time(&self) -> Duration {
        Duration::from_millis(self.config.body_timeout_ms)
    }
}

/// The ingress without a server of its own, for a process that serves several roles on one port: serve
/// [`Ingress::router`] and run [`Ingress::maintain`] beside it. [`run`] is both.
pub struct Ingress {
    shared: Arc<Shared>,
    regions: Vec<RegionName>,
    /// Taken by [`Ingress::maintain`], which alone turns the valves.
    pressure: Mutex<Pressure>,
    topology: Condition,
}

impl Ingress {
    /// Checks the configuration and registers the role's conditions (`ingress.topology`, `ingress.orders_broker`,
    /// `ingress.events_broker`), not ready yet.
    ///
    /// # Errors
    /// [`Error`] where the markets can't work as configured.
    pub fn new(deps: Deps) -> Result<Self, Error> {
        if let Some(fault) = deps.config.fault() {
            return Err(Error::Setting(fault));
        }
        let markets = markets(&deps.config, &deps.regions)?;
        let known: Vec<MarketId> = markets.keys().cloned().collect();
        for key in deps.keys.of_unknown_markets(&known) {
            tracing::warn!("the API key {key} names a market that is not configured: it will be refused");
        }
        watch_broker(&deps.readiness, "ingress.orders_broker", &deps.orders);
        watch_broker(&deps.readiness, "ingress.events_broker", &deps.events);
        let config = deps.config;
        let events_valve = Arc::<Valve>::default();
        let lanes = lanes(&markets, &events_valve);
        let policy = config.overload.policy().map_err(Error::Setting)?;
        let shown = show_lanes(&deps.metrics);
        let pressure = Pressure::new(lanes, policy, config.overload.clone(), deps.one_broker, shown);
        let bounds = Bounds {
            requests: config.max_in_flight_orders,
            bytes: config.max_in_flight_order_bytes,
            body: config.order_bytes,
        };
        let words = (orders::WHAT, orders::AGAIN);
        let orders_gate = Gate::new(Class::Orders, words, bounds, &deps.orders, &deps.metrics);
        let bounds = Bounds {
            requests: config.max_in_flight_events,
            bytes: config.max_in_flight_event_bytes,
            body: config.batch_bytes.max(config.event_bytes),
        };
        let words = (pages::WHAT, pages::AGAIN);
        let events_gate = Gate::new(Class::Events, words, bounds, &deps.events, &deps.metrics);
        Ok(Self {
            pressure: Mutex::new(pressure),
            topology: deps.readiness.condition("ingress.topology"),
            regions: deps.regions.into_keys().collect(),
            shared: Arc::new(Shared {
                orders: deps.orders,
                events: deps.events,
                orders_exchange: layout::orders_exchange(),
                pages_exchange: layout::pages_exchange(),
                markets,
                keys: deps.keys,
                token_key: deps.token_key,
                clock: deps.clock,
                recent: Recent::new(config.recent_orders, Duration::from_secs(config.recent_orders_s)),
                orders_gate,
                events_gate,
                events_valve,
                tasks: Tasks::new(),
                config,
            }),
        })
    }

    /// The routes, for a server of `service::http` (which brings timeouts, request ids and answers to unknown paths).
    pub fn router(&self) -> Router {
        router::routes(&self.shared)
    }

    /// Declares the queues that the ingress feeds, then follows the keys' file until the soft stop, then waits for the
    /// publishes in flight (until the hard stop).
    ///
    /// # Errors
    /// [`Error::Broker`] where the broker holds the queues with other arguments.
    pub async fn maintain(&self, shutdown: Shutdown) -> Result<(), Error> {
        let reload = Duration::from_millis(self.shared.config.keys_reload_ms);
        let work = async {
            tokio::select! {
                result = self.declare_then_look() => result,
                () = self.shared.keys.follow(reload) => Ok(()),
            }
        };
        if let Some(result) = shutdown.soft().run_until_cancelled(work).await {
            return result;
        }
        shutdown.hard().run_until_cancelled(self.shared.tasks.join()).await;
        Ok(())
    }

    /// Waits for the publishes of requests that the server finished while it drained; call it once the server has ended.
    pub async fn drain(&self) {
        self.shared.tasks.join().await;
    }

    async fn declare_then_look(&self) -> Result<(), Error> {
        self.declare_queues().await?;
        match self.pressure.lock().await.follow(&self.shared).await {}
    }

    /// Declares the queues; the routes that feed them answer `starting` until theirs are.
    pub(crate) async fn declare_queues(&self) -> Result<(), Error> {
        let Shared { orders, events, orders_gate, events_gate, .. } = &*self.shared;
        self.topology.not_ready("waiting for the broker to take the queues' declaration");
        // Both at once: page events are taken while the orders' broker is away, and the other way round.
        futures::future::try_join(
            declare(&**orders, layout::orders(&self.regions), orders_gate),
            declare(&**events, layout::pages(), events_gate),
        )
        .await?;
        self.topology.ready();
        tracing::info!("the ingress has declared its queues");
        Ok(())
    }
}

/// Runs the ingress alone on `server`, which listens already, until `shutdown`.
///
/// # Errors
/// [`Error`]: a configuration that can't work, queues with other arguments.
pub async fn run(server: http::Server, deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let health = deps.readiness.router().merge(deps.metrics.router());
    let server = server.measured(&deps.metrics);
    let ingress = Ingress::new(deps)?;
    // Its own tokens: where the queues can't be declared, the server stops too, and the error is told.
    let stop = shutdown.child();
    let serving = server.serve(ingress.router().merge(health), stop.clone());
    let maintaining = async {
        let result = ingress.maintain(stop.clone()).await;
        stop.soft().cancel();
        result
    };
    let ((), result) = futures::future::join(serving, maintaining).await;
    // Requests that the server finished during its drain may have started publishes since.
    shutdown.hard().run_until_cancelled(ingress.drain()).await;
    result
}

/// Publishes one message and waits for its outcome.
pub(crate) async fn publish_one(broker: &dyn Broker, publish: Publish) -> Result<(), PublishError> {
    broker.publish(vec![publish]).await.pop().unwrap_or(Err(PublishError::Unknown))
}

async fn declare(broker: &dyn Broker, topology: broker::Topology, gate: &Gate) -> Result<(), Error> {
    broker.declare(&topology).await?;
    gate.declared();
    Ok(())
}

fn watch_broker(readiness: &Readiness, name: &str, broker: &Arc<dyn Broker>) {
    let broker = Arc::clone(broker);
    readiness.probe(name, move || match broker.state() {
        BrokerState::Ready => Ok(()),
        BrokerState::Blocked => Err("the broker has a resource alarm and takes no publishes".to_owned()),
        BrokerState::Disconnected => Err("the broker is not connected".to_owned()),
    });
}

fn markets(
    config: &Config,
    regions: &BTreeMap<RegionName, RegionNumber>,
) -> Result<HashMap<MarketId, Arc<MarketEntry>>, Error> {
    let mut markets = HashMap::new();
    // Markets of one region share its queue, and what is known of it.
    let mut valves: BTreeMap<RegionName, Arc<Valve>> = BTreeMap::new();
    for market in &config.markets {
        let Some(number) = regions.get(&market.region) else {
            let known: Vec<&str> = regions.keys().map(RegionName::as_str).collect();
            return Err(Error::UnknownRegion {
                market: market.id.clone(),
                region: market.region.clone(),
                known: known.join(", "),
            });
        };
        let entry = MarketEntry {
            number: *number,
            currency: market.currency,
            routing_key: layout::order_placed_key(&market.region),
            valve: Arc::clone(valves.entry(market.region.clone()).or_default()),
            queue: layout::checkout_queue(&market.region),
        };
        if markets.insert(market.id.clone(), Arc::new(entry)).is_some() {
            return Err(Error::MarketTwice(market.id.clone()));
        }
    }
    if markets.is_empty() {
        return Err(Error::NoMarket);
    }
    Ok(markets)
}

/// The queues that are fed, each once.
fn lanes(markets: &HashMap<MarketId, Arc<MarketEntry>>, events: &Arc<Valve>) -> Vec<Lane> {
    let orders: BTreeMap<&QueueName, &Arc<Valve>> =
        markets.values().map(|market| (&market.queue, &market.valve)).collect();
    let orders = orders.into_iter().map(|(queue, valve)| Lane::new(Class::Orders, queue.clone(), Arc::clone(valve)));
    let events = Lane::new(Class::Events, layout::analytics_pages_queue(), Arc::clone(events));
    orders.chain([events]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Market;

    fn error_of(ids: &[&str]) -> String {
        let market = |id: &&str| Market { id: id.parse().unwrap(), ..Market::default() };
        let config = Config { markets: ids.iter().map(market).collect(), ..Config::default() };
        let regions = BTreeMap::from([("europe".parse().unwrap(), RegionNumber(1))]);
        markets(&config, &regions).unwrap_err().to_string()
    }

    #[test]
    fn markets_that_can_not_work_are_refused_with_what_to_do() {
        assert!(error_of(&[]).contains("[[ingress.market]]"));
        let unknown = error_of(&["eu"]);
        assert!(unknown.contains("region main") && unknown.contains("known are: europe"), "{unknown}");

        let config = Config { markets: vec![Market::default(), Market::default()], ..Config::default() };
        let regions = BTreeMap::from([("main".parse().unwrap(), RegionNumber(1))]);
        assert!(matches!(markets(&config, &regions), Err(Error::MarketTwice(_))));
    }
}
