//! The lines between roles and servers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;

use super::{Fault, first, nothing};
use crate::proxy::{Direction, Strike, Way};
use crate::world::World;

/// `rabbit, to the client`: whose line, and in which direction.
fn line(target: &'static str) -> (&'static str, Direction) {
    let (server, way) = target.split_once(", ").unwrap_or((target, ""));
    (server, if way == "to the client" { Direction::ToClient } else { Direction::ToServer })
}

/// Each piece comes late.
pub(super) struct Slow {
    server: &'static str,
    direction: Direction,
    by: Duration,
}

impl Slow {
    pub(super) fn new(target: &'static str, by: Duration) -> Self {
        let (server, direction) = line(target);
        Self { server, direction, by }
    }
}

impl Fault for Slow {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        world.proxies.of(self.server).set(self.direction, Way::Slow(self.by));
        nothing()
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        world.proxies.of(self.server).set(self.direction, Way::Open);
        nothing()
    }
}

/// Nothing passes in a direction, and nobody is told.
pub(super) struct Blackhole(pub(super) &'static str);

impl Fault for Blackhole {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        let (server, direction) = line(self.0);
        world.proxies.of(server).set(direction, Way::Blackhole);
        nothing()
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        let (server, direction) = line(self.0);
        world.proxies.of(server).set(direction, Way::Open);
        nothing()
    }
}

/// Every connection that is there, once.
pub(super) struct Struck {
    server: &'static str,
    strike: Strike,
    before: u64,
    met: u64,
}

impl Struck {
    pub(super) fn reset(target: &'static str) -> Self {
        Self { server: target, strike: Strike::Reset, before: 0, met: 0 }
    }

    pub(super) fn half_open(target: &'static str) -> Self {
        let (server, direction) = line(target);
        let strike = if direction == Direction::ToServer { Strike::ServerGone } else { Strike::ClientGone };
        Self { server, strike, before: 0, met: 0 }
    }

    pub(super) fn cut(target: &'static str) -> Self {
        let (server, direction) = line(target);
        Self { server, strike: Strike::CutMidFrame(direction), before: 0, met: 0 }
    }
}

impl Fault for Struck {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        let proxy = world.proxies.of(self.server);
        self.before = proxy.struck();
        proxy.strike(self.strike);
        nothing()
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let proxy = world.proxies.of(self.server);
            // There was no connection while the server was away: those that there are by then.
            first(|| proxy.struck() - self.before, || proxy.strike(self.strike)).await;
            self.met = proxy.struck() - self.before;
            Ok(())
        })
    }

    fn met(&self) -> Option<u64> {
        Some(self.met)
    }
}
