//! What was purged, heard by the pages of this process.

use invalidation::{Hearing, Refresh, hear};

use super::Starting;

impl Starting<'_> {
    /// Makes pages old as soon as the broker tells of a purge; `refresh` renders the most read of them again. Not where nobody
    /// could tell: an embedded broker that another process holds says nothing to this one.
    pub(super) async fn hear_purges(&mut self, refresh: Refresh) -> anyhow::Result<()> {
        if !self.parts.hears_others() && !self.purges_here {
            return Ok(());
        }
        let hearing = Hearing {
            broker: self.parts.orders().await?,
            pages: self.parts.pages().await?,
            rerender: self.settings.invalidation.rerender_pages,
            refresh,
            metrics: self.metrics.clone(),
        };
        let stop = self.shutdown.soft().clone();
        self.supervisor.start("purges", async move {
            stop.run_until_cancelled(hear(hearing)).await;
            anyhow::Ok(())
        });
        Ok(())
    }
}
