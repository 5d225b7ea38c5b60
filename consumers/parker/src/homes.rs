//! Where parked messages come from and go back to.

use std::sync::Arc;

use broker::{QueueName, Topology, layout};
use events::{Contract as _, Envelope, OrderPlaced};
use model::{Message, headers};
use store::{Database, Databases};

use crate::config::Config;
use crate::run::Error;

/// Which of the two brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Orders,
    Events,
}

/// A queue, and where its parked messages are kept.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) queue: QueueName,
    pub(crate) side: Side,
    pub(crate) database: Arc<Database>,
}

/// Every queue of the layout, with its database.
#[derive(Debug, Clone)]
pub(crate) struct Homes {
    all: Vec<Home>,
    /// Of queues that belong to no region.
    common: Arc<Database>,
    databases: Databases,
    orders: Topology,
    pages: Topology,
}

impl Homes {
    pub(crate) fn new(databases: &Databases, config: &Config) -> Result<Self, Error> {
        let common = if config.database.is_empty() {
            Some(databases.analytics())
        } else {
            databases.databases().iter().find(|database| database.name() == config.database)
        };
        let common = common.cloned().ok_or_else(|| {
            let known: Vec<&str> = databases.databases().iter().map(|database| database.name()).collect();
            let (name, known) = (&config.database, known.join(", "));
            Error::Config(format!(
                "parker.database = {name:?} is no database below [store.database]; known are: {known}"
            ))
        })?;
        let orders = layout::orders(databases.regions().map(|region| &region.name));
        let pages = layout::pages();
        let of_region = |queue: &QueueName| {
            let region = databases.regions().find(|region| layout::checkout_queue(&region.name) == *queue);
            region.map_or(&common, |region| &region.database).clone()
        };
        let homes = [(&orders, Side::Orders), (&pages, Side::Events)].into_iter().flat_map(|(topology, side)| {
            let queues = topology.queues.iter().map(|spec| spec.name.clone());
            queues.map(move |queue| (queue, side))
        });
        let all = homes.map(|(queue, side)| Home { database: of_region(&queue), queue, side }).collect();
        Ok(Self { all, common, databases: databases.clone(), orders, pages })
    }

    pub(crate) fn all(&self) -> &[Home] {
        &self.all
    }

    /// Where what no queue wanted is kept.
    pub(crate) fn common(&self) -> &Arc<Database> {
        &self.common
    }

    pub(crate) fn databases(&self) -> &Databases {
        &self.databases
    }

    pub(crate) fn topology(&self, side: Side) -> &Topology {
        match side {
            Side::Orders => &self.orders,
            Side::Events => &self.pages,
        }
    }

    /// The databases that may hold rows of `queue`: of a queue that this release does not know, any.
    pub(crate) fn holding(&self, queue: &str) -> Vec<Arc<Database>> {
        match self.find(queue) {
            Some(home) => vec![Arc::clone(&home.database)],
            None if queue == QueueName::unrouted().as_str() => vec![Arc::clone(&self.common)],
            None => self.databases.databases().to_vec(),
        }
    }

    pub(crate) fn find(&self, queue: &str) -> Option<&Home> {
        self.all.iter().find(|home| home.queue.as_str() == queue)
    }

    /// The queue that a message kept under `queue` is replayed to: that one, or for an unrouted message the one that it
    /// was parked by, else the one that the layout has for its type.
    pub(crate) fn target(&self, queue: &str, message: &Message) -> Option<&Home> {
        if queue != QueueName::unrouted().as_str() {
            return self.find(queue);
        }
        if let Some(origin) = message.headers.get(headers::ORIGIN_QUEUE) {
            return self.find(origin);
        }
        let key = if message.kind == OrderPlaced::KIND {
            let placed = Envelope::<OrderPlaced>::from_message(message).ok()?.data;
            layout::order_placed_key(&self.databases.region(placed.region)?.name)
        } else {
            message.kind.clone()
        };
        let bindings = self.orders.bindings.iter().chain(&self.pages.bindings);
        let mut bound = bindings.filter(|binding| binding.routing_key == key);
        match (bound.next(), bound.next()) {
            (Some(binding), None) => self.find(binding.queue.as_str()),
            // To nobody, or to several: which of them has had it, nobody knows.
            _ => None,
        }
    }
}
