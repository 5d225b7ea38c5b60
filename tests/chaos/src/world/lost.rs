//! Queues that RabbitMQ itself can't use any more: a crash may leave their logs as no later start can read them, and what it
//! confirmed is gone with them. Nobody's promise can be judged after that.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use testkit::servers::Server;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::World;

/// How long queues may take to have a leader after a start.
const LED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the broker lost, once it did.
#[derive(Debug, Default)]
pub(super) struct Lost {
    queues: OnceLock<Vec<String>>,
    noticed: CancellationToken,
}

impl World {
    /// Starts RabbitMQ again, as [`Self::look_at_queues`] has it.
    ///
    /// # Errors
    /// Where it does not come up.
    pub(crate) async fn bring_back_broker(&self) -> Result<()> {
        self.servers.bring_back(Server::Rabbit).await?;
        self.look_at_queues().await
    }

    /// Waits until every queue can be used. A node that strands some is restarted, as an operator does; those that are stranded
    /// still are noted as lost.
    pub(super) async fn look_at_queues(&self) -> Result<()> {
        if self.stranded().await?.is_empty() {
            return Ok(());
        }
        self.servers.end(Server::Rabbit, "TERM").await?;
        self.servers.bring_back(Server::Rabbit).await?;
        let stranded = self.stranded().await?;
        if !stranded.is_empty() {
            // Noted once: the first tells what happened.
            let _ = self.lost.queues.set(stranded);
            self.lost.noticed.cancel();
        }
        Ok(())
    }

    /// The queues that are lost.
    pub(crate) fn lost(&self) -> &[String] {
        self.lost.queues.get().map_or(&[], Vec::as_slice)
    }

    /// Cancelled once a queue is lost.
    pub(crate) fn over(&self) -> &CancellationToken {
        &self.lost.noticed
    }

    /// Queues without a leader, once they had their time to elect one.
    async fn stranded(&self) -> Result<Vec<String>> {
        let (begun, mut look) = (Instant::now(), interval(LOOK_EVERY));
        loop {
            look.tick().await;
            let listed =
                self.servers.rabbitmqctl(&["-q", "list_queues", "name", "state", "--no-table-headers"]).await?;
            let down = listed.lines().filter_map(|line| line.strip_suffix("\tdown")).map(ToOwned::to_owned);
            let down: Vec<String> = down.collect();
            if down.is_empty() || begun.elapsed() > LED_WITHIN {
                return Ok(down);
            }
        }
    }
}
