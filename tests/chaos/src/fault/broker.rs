//! RabbitMQ: killed, frozen, alarmed, out of disk; its queues, bindings and deliveries meddled with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use broker::{QueueName, layout};
use futures::future::BoxFuture;
use testkit::servers::Server;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Fault, first};
use crate::world::{Flow, World};

/// Ended by a signal, and started again with its data.
pub(super) struct Ended(pub(super) &'static str);

impl Fault for Ended {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.end(Server::Rabbit, self.0))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.bring_back_broker())
    }
}

/// SIGSTOP, and later SIGCONT.
pub(super) struct Frozen;

impl Fault for Frozen {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.freeze(Server::Rabbit))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.thaw(Server::Rabbit))
    }
}

/// Raises the alarm of a disk that is nearly full; ends with the node, too.
pub(super) const LOW_ON_DISK: &[&str] = &["set_disk_free_limit", "1000GB"];

/// An alarm: the node takes no publishes.
pub(super) struct Alarm(pub(super) &'static [&'static str]);

impl Fault for Alarm {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { world.servers.rabbitmqctl(self.0).await.map(drop) })
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.clear_alarms())
    }
}

/// Not a byte more fits, past the alarm that the node raises before. A node that can't write loses what it holds: 3.10.8 leaves
/// a queue's log as no later start can read it in one of four where the disk fills up faster than the node looks, in one of some
/// twenty after its alarm; and a queue may go on without what was confirmed since the node's start (`infra/RABBITMQ.md`). So
/// the disk is filled once no queue holds anything: whoever is told 202 while it is full is lost, and the shop has to be itself
/// afterwards.
pub(super) struct DiskFull;

impl Fault for DiskFull {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let disk = world.rabbit_disk.as_ref().context("a small file system")?;
            // Before the alarm: a worker can neither retry nor park while the node takes no publishes.
            empty_checkout(world).await?;
            world.servers.rabbitmqctl(LOW_ON_DISK).await?;
            let rest: Vec<QueueName> = World::homes().into_iter().chain([QueueName::unrouted()]).collect();
            world.until_surely_empty(&rest, EMPTY_WITHIN).await?;
            disk.fill().await
        })
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            world.rabbit_disk.as_ref().context("a small file system")?.free()?;
            // A node that could not write its log may go on without its queues: an operator restarts it.
            if world.servers.pid(Server::Rabbit).is_some() {
                world.servers.end(Server::Rabbit, "KILL").await?;
            }
            world.bring_back_broker().await?;
            world.bring_home().await
        })
    }
}

/// How long checkout may take to empty a queue that gets nothing new.
const EMPTY_WITHIN: Duration = Duration::from_mins(1);
/// After so long without an empty queue somebody may have bound it again. A look takes some seconds on a busy machine.
const UNBOUND_FOR: Duration = Duration::from_secs(15);

/// Unbinds checkout's queue, and waits until it has handled what was in it. New orders are parked as unrouted.
async fn empty_checkout(world: &World) -> Result<()> {
    let (queue, begun) = (World::checkout_queue(), Instant::now());
    // Whoever comes back to the broker declares the binding again: nobody should be on the way.
    world.roles.all_ready().await?;
    loop {
        world.unbind_checkout().await?;
        match world.until_surely_empty(std::slice::from_ref(&queue), UNBOUND_FOR).await {
            Err(error) if begun.elapsed() > EMPTY_WITHIN => return Err(error),
            Err(_) => (),
            Ok(()) => return Ok(()),
        }
    }
}

/// Checkout's queue, deleted when nothing is in it: with a queue goes what it holds, and no consumer can help that. New
/// orders are parked as unrouted meanwhile. Its consumers are cancelled by the broker.
pub(super) struct QueueDeleted;

impl Fault for QueueDeleted {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            empty_checkout(world).await?;
            world.delete_queue(&World::checkout_queue()).await
        })
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.bring_home())
    }
}

/// Orders reach no queue: they are parked, and an operator replays them.
pub(super) struct BindingRemoved;

impl Fault for BindingRemoved {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.unbind_checkout())
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.bring_home())
    }
}

/// The queue of purges is deleted with what is in it, which the hard TTL of cached pages makes good; its consumer is
/// cancelled by the broker.
pub(super) struct ConsumerCancelled;

impl Fault for ConsumerCancelled {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { world.delete_queue(&layout::invalidation_queue()).await })
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.bring_home())
    }
}

/// How long it may take until messages come through the harness: the broker may be down.
const DIVERT_WITHIN: Duration = Duration::from_secs(90);

/// Every message of a flow comes two to five times.
pub(super) struct Duplicated {
    flow: Arc<Flow>,
    dice: u64,
    stop: CancellationToken,
    passing: Option<JoinSet<()>>,
    /// Copies that reached the consumer's queue.
    copies: Arc<AtomicU64>,
}

impl Duplicated {
    pub(super) fn new(target: &str, dice: u64) -> Self {
        Self {
            flow: Arc::new(Flow::named(target)),
            dice,
            stop: CancellationToken::new(),
            passing: None,
            copies: Arc::default(),
        }
    }
}

impl Fault for Duplicated {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let messages = world.divert(&self.flow, DIVERT_WITHIN).await?;
            let (world, dice, stop) = (Arc::clone(world), self.dice, self.stop.clone());
            let mut passing = JoinSet::new();
            let (flow, copies) = (Arc::clone(&self.flow), Arc::clone(&self.copies));
            passing.spawn(async move { world.duplicate(&flow, messages, dice, &copies, stop).await });
            self.passing = Some(passing);
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            if self.passing.is_some() {
                first(|| self.copies.load(Ordering::Relaxed), || ()).await;
            }
            self.stop.cancel();
            if let Some(mut passing) = self.passing.take() {
                passing.join_next().await.transpose()?;
            }
            world.restore_topology().await
        })
    }

    fn met(&self) -> Option<u64> {
        Some(self.copies.load(Ordering::Relaxed))
    }
}
