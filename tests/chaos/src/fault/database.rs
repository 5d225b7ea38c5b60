//! PostgreSQL: stopped, frozen, out of disk, its backends ended, its commits cut off.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use testkit::servers::Server;

use super::{Fault, first, nothing};
use crate::world::World;

/// SIGSTOP of the postmaster and of every backend.
pub(super) struct Frozen;

impl Fault for Frozen {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.freeze(Server::Postgres))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.thaw(Server::Postgres))
    }
}

/// What `pg_ctl stop -m immediate` does: SIGQUIT to the postmaster. Its data recovers from its log.
pub(super) struct Stopped;

impl Fault for Stopped {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.end(Server::Postgres, "QUIT"))
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.servers.bring_back(Server::Postgres))
    }
}

/// Every client's backend.
pub(super) struct BackendsKilled;

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                         AND pid <> pg_backend_pid()";

impl Fault for BackendsKilled {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(world.sql(TERMINATE))
    }

    fn end<'a>(&'a mut self, _: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        nothing()
    }
}

/// The client never learns whether its COMMIT was one.
#[derive(Debug, Default)]
pub(super) struct CommitCut {
    before: u64,
    met: u64,
}

impl Fault for CommitCut {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        self.before = world.proxies.postgres.commits_cut();
        world.proxies.postgres.cut_commits(true);
        nothing()
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let proxy = &world.proxies.postgres;
            // Nobody commits while the broker gives nobody anything: the next one that does is cut off.
            first(|| proxy.commits_cut() - self.before, || ()).await;
            proxy.cut_commits(false);
            self.met = proxy.commits_cut() - self.before;
            Ok(())
        })
    }

    fn met(&self) -> Option<u64> {
        Some(self.met)
    }
}

/// Not a byte more fits.
pub(super) struct DiskFull;

impl Fault for DiskFull {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { world.postgres_disk.as_ref().context("a small file system")?.fill().await })
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            world.postgres_disk.as_ref().context("a small file system")?.free()?;
            // A server that could not write its log has ended itself; whoever runs it starts it again.
            world.servers.bring_back(Server::Postgres).await
        })
    }
}
