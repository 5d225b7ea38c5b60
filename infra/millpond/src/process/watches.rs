//! What a process looks at beside its roles: depths of queues, messages that no queue wanted, and read replicas.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use broker::topology::UNROUTED;
use broker::{Broker, QueueName, watch_unrouted};

use super::Starting;
use crate::levels;

impl Starting<'_> {
    /// Shows the depths of `queues` and of their parked queues at `/metrics`.
    pub(super) fn show_depths(
        &mut self,
        name: &'static str,
        broker: &Arc<dyn Broker>,
        queues: impl IntoIterator<Item = QueueName>,
    ) {
        let unrouted = QueueName::unrouted();
        let (_, shown) = self.queues.entry(name).or_insert_with(|| (Arc::clone(broker), BTreeSet::from([unrouted])));
        shown.extend(queues.into_iter().flat_map(|queue| [queue.parked(), queue]));
    }

    pub(super) fn watch_depths(&mut self) {
        let every = Duration::from_millis(self.settings.broker.depths_ms.max(100));
        for (name, (broker, queues)) in std::mem::take(&mut self.queues) {
            let (metrics, stop) = (self.metrics.clone(), self.shutdown.soft().clone());
            self.supervisor.start(format!("depths.{name}"), async move {
                levels::watch_depths(broker, name, queues, every, &metrics, stop).await;
                anyhow::Ok(())
            });
        }
    }

    /// Keeps the state of every read replica known; without that none is read.
    pub(super) async fn watch_replicas(&mut self) -> anyhow::Result<()> {
        let databases = self.parts.databases().await?;
        levels::show_reads(&databases, &self.metrics);
        for database in databases.databases() {
            for replica in database.replicas() {
                let (replica, stop) = (Arc::clone(replica), self.shutdown.soft().clone());
                self.supervisor.start(format!("replica.{}.{}", database.name(), replica.name()), async move {
                    replica.watch(stop.cancelled_owned()).await;
                    anyhow::Ok(())
                });
            }
        }
        Ok(())
    }

    /// The alarm on messages that no queue wanted, beside every role that publishes; once for each broker.
    pub(super) fn watch_unrouted(&mut self, name: &'static str, broker: Arc<dyn Broker>) {
        if self.watched.contains(&name) {
            return;
        }
        self.watched.push(name);
        let interval = Duration::from_secs(self.settings.broker.unrouted_check_s.max(1));
        let stop = self.shutdown.soft().clone();
        self.supervisor.start(format!("unrouted.{name}"), async move {
            watch_unrouted(&*broker, interval, stop, |waiting| {
                tracing::error!(
                    broker = name,
                    waiting,
                    "{waiting} messages reached no queue and wait in {UNROUTED}: a binding is missing. Restart a role \
                     that declares it, then `millpond parked replay --queue {UNROUTED}` once a parker has them"
                );
            })
            .await;
            anyhow::Ok(())
        });
    }
}
