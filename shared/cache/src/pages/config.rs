//! Settings of the page cache. All bounds that are promised follow from them; see the crate.

use std::time::Duration;

use serde::Deserialize;

/// The part `[cache.pages]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagesConfig {
    /// What pages may take of this process's memory, bytes: bodies in all encodings, keys, tags and headers. The least
    /// used go first. At least 32 times `max_page_bytes` to be of use, since a part of it holds each page.
    pub memory_bytes: u64,
    /// The largest body that is kept, bytes as rendered; a larger one is rendered for every reader. It should pass through
    /// Redis well within `cache.command_timeout_ms`.
    pub max_page_bytes: usize,
    /// The most tags of a page that is kept; one with more is rendered for every reader.
    pub max_tags: usize,
    /// How long a page is served without asking again whether it was purged, ms, counted from when it was last seen
    /// current.
    pub trust_ms: u64,
    /// How much longer it is served while it is being looked after, ms: nobody waits in this time. It counts from when this
    /// process was told of a purge, and with `trust_ms` it is the bound after one that it was not told of. Above what a render
    /// takes: where renders take longer and purges come one after the other, readers wait for each.
    pub grace_ms: u64,
    /// In place of `trust_ms` while Redis is away, ms: every page that is read is rendered anew that often by every process.
    pub away_trust_ms: u64,
    /// How long a page is served after its render began though nothing purged it, seconds: the bound while purges can't
    /// come, because the broker is away. From three quarters of it on a read starts the next render. 1 or more.
    pub max_age_s: u64,
    /// In place of `max_age_s` for what is not there (404, 410), seconds. 1 or more.
    pub negative_age_s: u64,
    /// How long a page that was not seen current since is served where a new one can't be rendered (it failed, ran out of time,
    /// or too many are rendered already), seconds.
    pub stale_if_error_s: u64,
    /// How long a page is served after its render began, whatever fails, seconds. At least `max_age_s`.
    pub hard_ttl_s: u64,
    /// How long a page whose render failed is served before the next try, ms.
    pub retry_ms: u64,
    /// How many pages are rendered at once in this process. Not more than the database's connections for reads.
    pub max_renders: usize,
    /// How long a render waits for its turn, ms.
    pub turn_wait_ms: u64,
    /// How many pages are looked after at once in this process: asked for, waited for, rendered. Beyond it readers get what
    /// is there, or are refused.
    pub max_fills: usize,
    /// The longest for one render, ms.
    pub render_timeout_ms: u64,
    /// The longest that a reader waits for a page, ms.
    pub wait_ms: u64,
    /// How long one replica is left alone with the render of a page, ms; the others wait for its result, and render
    /// themselves after that.
    pub lease_ms: u64,
    /// How often those others look for it, ms. 1 or more.
    pub lease_poll_ms: u64,
    /// The smallest body that is compressed, bytes.
    pub compress_min_bytes: usize,
    /// How hard gzip tries, 0 (does not compress) to 9.
    pub gzip_level: u32,
    /// How hard brotli tries, 0 to 11. Above 5 it takes much longer for little.
    pub brotli_quality: u32,
    /// How many pages are known as the most read ones. 1 or more.
    pub hot_pages: usize,
    /// How many purged tags are remembered that the broker told of; beyond it all pages are asked for anew. 1 or more.
    pub told_tags: usize,
}

impl Default for PagesConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            max_page_bytes: 1 << 20,
            max_tags: 500,
            trust_ms: 1_000,
            grace_ms: 500,
            away_trust_ms: 5_000,
            max_age_s: 60,
            negative_age_s: 10,
            stale_if_error_s: 60,
            hard_ttl_s: 600,
            retry_ms: 1_000,
            max_renders: 32,
            turn_wait_ms: 1_000,
            max_fills: 1_024,
            render_timeout_ms: 5_000,
            wait_ms: 5_000,
            lease_ms: 1_500,
            lease_poll_ms: 20,
            compress_min_bytes: 1_024,
            gzip_level: 6,
            brotli_quality: 5,
            hot_pages: 1_000,
            told_tags: 100_000,
        }
    }
}

impl PagesConfig {
    /// Whether the times fit together.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { hard_ttl_s, max_age_s, .. } = self;
        if hard_ttl_s < max_age_s {
            return Err(format!(
                "cache.pages.hard_ttl_s is {hard_ttl_s}, and a page would be served for less than cache.pages.max_age_s \
                 = {max_age_s}: raise the one, or lower the other"
            ));
        }
        Ok(())
    }

    pub(crate) fn trust(&self) -> Duration {
        Duration::from_millis(self.trust_ms)
    }

    pub(crate) fn away_trust(&self) -> Duration {
        Duration::from_millis(self.away_trust_ms)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }

    pub(crate) fn stale_if_error(&self) -> Duration {
        Duration::from_secs(self.stale_if_error_s)
    }

    /// How long a page with this answer is served, and how long whatever fails.
    pub(crate) fn lives(&self, missing: bool) -> (Duration, Duration) {
        let hard = Duration::from_secs(self.hard_ttl_s);
        if missing {
            // What was not there is not worth a second life.
            let life = Duration::from_secs(self.negative_age_s.max(1)).min(hard);
            return (life, life);
        }
        (Duration::from_secs(self.max_age_s.max(1)).min(hard), hard)
    }

    pub(crate) fn retry(&self) -> Duration {
        Duration::from_millis(self.retry_ms)
    }

    /// How long a try to render takes at most, its wait for a turn included.
    pub(crate) fn patience(&self) -> Duration {
        self.turn_wait() + self.render_timeout()
    }

    pub(crate) fn turn_wait(&self) -> Duration {
        Duration::from_millis(self.turn_wait_ms)
    }

    pub(crate) fn render_timeout(&self) -> Duration {
        Duration::from_millis(self.render_timeout_ms)
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn lease_poll(&self) -> Duration {
        Duration::from_millis(self.lease_poll_ms.max(1))
    }
}
