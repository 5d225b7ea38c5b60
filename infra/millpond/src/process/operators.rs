//! The operator API in a process, and the pauses that its workers obey.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use broker::QueueName;
use model::SystemClock;
use ops::Ops;
use parker::Desk;
use sea_orm::DbErr;
use service::http;
use store::{Database, pause};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use worker::Pauses;

use super::Starting;
use crate::settings::Settings;
use crate::verbs::{keys, ops_client};

/// Listens for operators.
pub(super) async fn bind(settings: &Settings) -> anyhow::Result<http::Server> {
    let config = http::Config { bind: settings.ops.bind, ..settings.http.clone() };
    Ok(http::Server::bind(config).await.context("ops.bind")?.named("the operator API listens"))
}

impl Starting<'_> {
    pub(super) async fn ops(&mut self) -> anyhow::Result<()> {
        let server = self.ops_server.take().context("the operator API listens already")?;
        if keys::make_local_operator(self.settings)? {
            tracing::info!(
                "the operator \"local\" was made; its token is in {}, where the verbs find it",
                ops_client::token_path(self.settings).display()
            );
        }
        let (orders, events) = (self.parts.orders().await?, self.parts.events().await?);
        let databases = self.parts.databases().await?;
        let markets = self.settings.ingress.markets.iter();
        let desk = Desk::new(&databases, self.settings.parker.clone(), Arc::new(SystemClock), self.metrics.clone())?;
        let ops = Ops::new(ops::Deps {
            config: self.settings.ops.clone(),
            desk,
            markets: markets
                .filter_map(|market| Some((market.id.clone(), databases.by_name(&market.region)?.number)))
                .collect(),
            databases: Arc::new(databases),
            orders,
            events,
            clock: Arc::new(SystemClock),
            readiness: self.readiness.clone(),
        })?;
        ops_client::leave_url(self.settings, server.local_addr())?;
        let shutdown = self.shutdown.clone();
        self.supervisor.start("ops", async move { ops.run(server, shutdown).await });
        Ok(())
    }

    /// Tells the workers which of their queues are paused, database by database: one that is away keeps only its own queues
    /// as they were.
    pub(super) async fn follow_pauses(&mut self) -> anyhow::Result<()> {
        if self.pausable.is_empty() {
            return Ok(());
        }
        let databases = self.parts.databases().await?;
        let mut homes: BTreeMap<String, (Arc<Database>, Vec<QueueName>)> = BTreeMap::new();
        for queue in std::mem::take(&mut self.pausable) {
            let home = ops::home_of(&databases, &queue);
            let (_, queues) = homes.entry(home.name().to_owned()).or_insert_with(|| (Arc::clone(home), Vec::new()));
            queues.push(queue);
        }
        let every = Duration::from_millis(self.settings.pause.look_ms.max(50));
        for (name, (database, queues)) in homes {
            let (pauses, stop) = (self.pauses.clone(), self.shutdown.soft().clone());
            self.supervisor.start(format!("pauses.{name}"), async move {
                follow(&database, &queues, &pauses, every, &stop).await;
                anyhow::Ok(())
            });
        }
        Ok(())
    }
}

async fn follow(database: &Database, queues: &[QueueName], pauses: &Pauses, every: Duration, stop: &CancellationToken) {
    let mut look = interval(every);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut readable = true;
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let Some(looked) = stop.run_until_cancelled(tell(database, queues, pauses)).await else { return };
        if let Err(error) = looked.as_ref()
            && readable
        {
            tracing::warn!(
                store.database = database.name(), %error,
                "which queues are paused can't be read: what was read last holds, and a worker that starts waits"
            );
        }
        readable = looked.is_ok();
    }
}

/// Tells which of `queues` are paused; nothing of any where the database does not say.
async fn tell(database: &Database, queues: &[QueueName], pauses: &Pauses) -> Result<(), DbErr> {
    let rows = pause::all(database).await?;
    for queue in queues {
        pauses.tell(queue, rows.iter().any(|row| row.queue == queue.as_str()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait as _;
    use store::{Config, DatabaseConfig, Databases};

    use super::*;

    #[tokio::test]
    async fn what_was_read_last_holds_while_the_database_does_not_say() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let url = format!("sqlite:{}", folder.path().join("shop.db").display());
        config.database.insert("main".to_owned(), DatabaseConfig::at(url));
        let databases = Databases::open(&config).unwrap();
        let database = &databases.databases()[0];
        let (queue, pauses) = (QueueName::new("q"), Pauses::unknown());
        let look = async || tell(database, std::slice::from_ref(&queue), &pauses).await;
        // Not migrated: unknown, and not "not paused".
        look().await.unwrap_err();
        assert_eq!(pauses.is_paused(&queue), None);
        store::migrate(database).await.unwrap();
        look().await.unwrap();
        assert_eq!(pauses.is_paused(&queue), Some(false));
        let tx = database.begin().await.unwrap();
        pause::set(database, &tx, "q", "anna", None).await.unwrap();
        tx.commit().await.unwrap();
        look().await.unwrap();
        assert_eq!(pauses.is_paused(&queue), Some(true));
        let tx = database.begin().await.unwrap();
        tx.execute_unprepared("DROP TABLE queue_pauses").await.unwrap();
        tx.commit().await.unwrap();
        look().await.unwrap_err();
        assert_eq!(pauses.is_paused(&queue), Some(true), "the last known state holds");
    }
}
