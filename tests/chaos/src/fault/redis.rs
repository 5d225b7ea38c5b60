//! Redis, which holds nothing that can't be lost.

use std::sync::Arc;

use anyhow::Result;
use futures::future::BoxFuture;
use testkit::servers::Server;

use super::{Fault, nothing};
use crate::world::World;

/// SIGKILL; it comes back empty.
pub(super) struct Killed;

impl Fault for Killed {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.end(Server::Redis, "KILL"))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.bring_back(Server::Redis))
    }
}

/// Everything is deleted.
pub(super) struct Flushed;

impl Fault for Flushed {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let client = redis::Client::open(world.servers.exported("MILLPOND_TEST_REDIS_URL")?)?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await?;
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, _: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        nothing()
    }
}

/// SIGSTOP, and later SIGCONT.
pub(super) struct Frozen;

impl Fault for Frozen {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.freeze(Server::Redis))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.thaw(Server::Redis))
    }
}
