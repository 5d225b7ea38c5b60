//! A wall clock that jumps, by libfaketime: a role runs with it in front of its C library, and reads the offset from a
//! file. The monotonic clock, by which timeouts run, stays as it is, as it does when a machine's clock is set.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;

use super::Fault;
use crate::world::World;

pub(super) struct Stepped {
    process: &'static str,
    step: &'static str,
    library: PathBuf,
}

impl Stepped {
    /// `target` is a process and a step, such as `checkout +1h`.
    pub(super) fn new(target: &'static str, library: PathBuf) -> Self {
        let (process, step) = target.split_once(' ').unwrap_or((target, "+1h"));
        Self { process, step, library }
    }
}

impl Fault for Stepped {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let file = world.folder().join(format!("{}.clock", self.process));
            std::fs::write(&file, "+0")?;
            let text = |path: &PathBuf| path.to_str().map(ToOwned::to_owned).context("a path in UTF-8");
            let environment = [
                ("LD_PRELOAD".to_owned(), text(&self.library)?),
                ("FAKETIME_TIMESTAMP_FILE".to_owned(), text(&file)?),
                ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
                // The file is read again once a second.
                ("FAKETIME_CACHE_DURATION".to_owned(), "1".to_owned()),
            ];
            world.roles.restart(self.process, &environment).await?;
            Ok(std::fs::write(&file, self.step)?)
        })
    }

    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            // It jumps back while it runs, and only then is it restarted with the machine's own clock.
            std::fs::write(world.folder().join(format!("{}.clock", self.process)), "+0")?;
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            world.roles.restart(self.process, &[]).await
        })
    }
}
