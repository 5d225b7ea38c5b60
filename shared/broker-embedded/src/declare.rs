//! Queues, exchanges and bindings: read at the start, added to by declarations; and the questions about them.

use std::time::Duration;

use broker::{BrokerError, Delivery, Depth, QueueName, QueueSpec, Topology};
use tokio::sync::mpsc;

use crate::key::{MAX_QUEUE_ID, QueueId};
use crate::queue::{Consumer, Queue};
use crate::store::{Extent, StoredQueue};
use crate::writer::Writer;

impl Writer {
    /// Brings memory to where the file stands.
    pub(crate) fn load(&mut self) -> rusqlite::Result<()> {
        self.store.begin()?;
        self.store.count_interrupted_deliveries()?;
        self.store.commit()?;
        for stored in self.store.queues()? {
            let extent = self.store.extent(stored.id)?;
            let delayed = self.store.delayed_in(stored.id)?;
            self.add_queue(stored, &extent, delayed);
        }
        for exchange in self.store.exchanges()? {
            self.router.add_exchange(exchange);
        }
        for (exchange, routing_key, queue) in self.store.bindings()? {
            self.router.bind(exchange, routing_key, queue);
        }
        self.next_due = self.store.next_due()?;
        self.used_bytes = self.store.used_bytes()?;
        self.may_have_free_pages = true;
        Ok(())
    }

    fn add_queue(&mut self, stored: StoredQueue, extent: &Extent, delayed: u64) {
        let StoredQueue { id, name, retry_delays_ms } = stored;
        self.names.insert(name.clone(), id);
        let queue = self.queues.entry(id).or_insert_with(|| Queue::new(id, name, extent, delayed));
        queue.retry_delays = retry_delays_ms.into_iter().map(Duration::from_millis).collect();
    }

    pub(crate) fn declare(&mut self, topology: &Topology) -> Result<(), BrokerError> {
        let queues = self.plan_queues(topology)?;
        let id_of = |name: &QueueName| queues.iter().find(|queue| queue.name == *name).map(|queue| queue.id);
        let mut bindings = Vec::new();
        for binding in &topology.bindings {
            let queue = id_of(&binding.queue).or_else(|| self.names.get(&binding.queue).copied());
            bindings.push((binding, queue.ok_or_else(|| BrokerError::NoSuchQueue(binding.queue.clone()))?));
        }
        let written = self.store.begin().and_then(|()| {
            queues.iter().try_for_each(|queue| self.store.put_queue(queue))?;
            topology.exchanges.iter().try_for_each(|exchange| self.store.put_exchange(exchange))?;
            bindings.iter().try_for_each(|(binding, queue)| self.store.put_binding(binding, *queue))?;
            self.store.commit()
        });
        if let Err(error) = written {
            self.store.rollback();
            return Err(BrokerError::Unavailable(format!("its file could not be written: {error}")));
        }
        for (binding, queue) in bindings {
            self.router.bind(binding.exchange.clone(), binding.routing_key.clone(), queue);
        }
        for exchange in &topology.exchanges {
            self.router.add_exchange(exchange.clone());
        }
        for queue in queues {
            self.add_queue(queue, &Extent::default(), 0);
        }
        Ok(())
    }

    /// The topology's queues, their parked queues and the one of unroutable messages, each with its number. A ladder
    /// that changed is no conflict: it holds for the retries to come.
    fn plan_queues(&self, topology: &Topology) -> Result<Vec<StoredQueue>, BrokerError> {
        let plain = |name| QueueSpec { name, retry_delays: Vec::new() };
        let parked = topology.queues.iter().map(|queue| plain(queue.name.parked()));
        let wanted = std::iter::once(plain(QueueName::unrouted())).chain(topology.queues.iter().cloned()).chain(parked);
        let mut next = self.queues.keys().next_back().map_or(1, |last| last + 1);
        let mut planned = Vec::new();
        for spec in wanted {
            let id = self.names.get(&spec.name).copied().unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            if id > MAX_QUEUE_ID {
                return Err(BrokerError::Configuration(format!("there are more than {MAX_QUEUE_ID} queues")));
            }
            let millis = |delay: &Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            let retry_delays_ms = spec.retry_delays.iter().map(millis).collect();
            planned.push(StoredQueue { id, name: spec.name, retry_delays_ms });
        }
        Ok(planned)
    }

    pub(crate) fn subscribe(
        &mut self,
        name: &QueueName,
        prefetch: u16,
        deliveries: mpsc::Sender<Delivery>,
    ) -> Result<(), BrokerError> {
        let id = self.id_of(name)?;
        if let Some(queue) = self.queues.get_mut(&id) {
            let prefetch = usize::from(prefetch);
            queue.add_consumer(Consumer { id: self.next_consumer, prefetch, credit: prefetch, deliveries });
            self.next_consumer += 1;
        }
        Ok(())
    }

    pub(crate) fn depths(&mut self, names: &[QueueName]) -> Result<Vec<Depth>, BrokerError> {
        let ids: Vec<QueueId> = names.iter().map(|name| self.id_of(name)).collect::<Result<_, _>>()?;
        let depths = names.iter().zip(ids).map(|(name, id)| {
            let (ready, consumers) =
                self.queues.get_mut(&id).map_or((0, 0), |queue| (queue.ready, queue.consumer_count()));
            Depth { queue: name.clone(), ready, consumers }
        });
        Ok(depths.collect())
    }

    fn id_of(&self, name: &QueueName) -> Result<QueueId, BrokerError> {
        self.names.get(name).copied().ok_or_else(|| BrokerError::NoSuchQueue(name.clone()))
    }

    pub(crate) fn measure(&mut self) {
        match self.store.used_bytes() {
            Ok(used) => self.used_bytes = used,
            Err(error) => tracing::warn!(%error, "the size of the embedded broker's file is not known"),
        }
    }

    pub(crate) fn read_next_due(&mut self) {
        match self.store.next_due() {
            Ok(next) => self.next_due = next,
            // Looked at again with the next turn.
            Err(error) => tracing::warn!(%error, "the next due time in the embedded broker's file is not known"),
        }
    }
}
