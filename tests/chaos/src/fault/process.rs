//! Millpond's own processes: killed, frozen, restarted.

use std::sync::Arc;

use anyhow::Result;
use futures::future::BoxFuture;

use super::{Fault, nothing};
use crate::world::{ROLES, World};

/// SIGKILL; it stays away for a while.
pub(super) struct Killed(pub(super) &'static str);

impl Fault for Killed {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.roles.kill(self.0))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.roles.release(self.0))
    }
}

/// SIGSTOP, and later SIGCONT.
pub(super) struct Frozen(pub(super) &'static str);

impl Fault for Frozen {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.roles.signal(self.0, "STOP"))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.roles.signal(self.0, "CONT"))
    }
}

/// Every process once, one after the other, as a release does.
pub(super) struct Rolling;

impl Fault for Rolling {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            for (name, _) in ROLES {
                world.roles.restart(name, &[]).await?;
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, _: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        nothing()
    }
}
