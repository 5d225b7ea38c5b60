//! What a process that keeps pages does with announcements.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use broker::Broker;
use broker::announce::PURGES;
use cache::{PageKey, Pages, Tag};
use futures::future::BoxFuture;
use service::metrics::{Family, Metrics};
use tokio::sync::Notify;

use crate::announce::heard;

static HEARD: Family = Family::counter(
    "millpond_pages_heard_tags_total",
    "Purged tags that this process was told of by the broker, so that it does not wait until it finds out",
    &[],
);

/// Tags whose pages wait to be rendered again; more are left to their readers.
const AT_MOST: usize = 10_000;

/// Renders these pages again, for nobody who waits. Bounded by itself; where it fails the next reader sees to it.
pub type Refresh = Arc<dyn Fn(Vec<PageKey>) -> BoxFuture<'static, ()> + Send + Sync>;

/// Who hears of purges.
pub struct Hearing {
    /// Tells of them.
    pub broker: Arc<dyn Broker>,
    /// What is kept here.
    pub pages: Arc<Pages>,
    /// How many of the most read pages are rendered again at once, of those that a purge makes old. 0: none.
    pub rerender: usize,
    /// Does that.
    pub refresh: Refresh,
    /// What it measures.
    pub metrics: Metrics,
}

/// Tags that were purged, until somebody asks which.
#[derive(Default)]
struct Waiting {
    tags: Mutex<HashSet<Tag>>,
    more: Notify,
}

impl Waiting {
    fn add(&self, tags: Vec<Tag>) {
        let mut waiting = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + tags.len() <= AT_MOST {
            waiting.extend(tags);
        }
        self.more.notify_one();
    }

    async fn next(&self) -> Vec<Tag> {
        self.more.notified().await;
        std::mem::take(&mut *self.tags.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}

/// Makes the pages of this process old as soon as it hears of a purge, and has the most read of them rendered again before
/// anybody asks. Until it is dropped, or the broker is closed.
pub async fn hear(hearing: Hearing) {
    let Hearing { broker, pages, rerender, refresh, metrics } = hearing;
    let count = metrics.counter(&HEARD, &[]);
    let waiting = Waiting::default();
    let mut listener = broker.listen(PURGES);
    let listening = async {
        while let Some(tags) = heard(&mut listener).await {
            count.inc_by(tags.len() as u64);
            pages.purged(&tags);
            if rerender > 0 {
                waiting.add(tags);
            }
        }
    };
    let rendering = async {
        loop {
            let tags = waiting.next().await;
            let hot = pages.hot_with(&tags, rerender);
            if !hot.is_empty() {
                refresh(hot).await;
            }
        }
    };
    tokio::select! {
        () = listening => {}
        () = rendering => {}
    }
}
