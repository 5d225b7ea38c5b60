//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the page cache did since it was made, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PagesStats {
    /// Readers served at once, from what was seen current within its trust.
    pub fresh: u64,
    /// Readers served at once within the grace, while the page is looked after.
    pub stale: u64,
    /// Readers served an older page because it could not be looked after.
    pub fallback: u64,
    /// Readers that waited and were served.
    pub awaited: u64,
    /// Readers that were not served because too many pages are rendered or looked after.
    pub refused: u64,
    /// Readers that were not served because the render failed, panicked, or took too long.
    pub failed: u64,
    /// Times that a page was asked after and found current, without a body moved.
    pub confirmed: u64,
    /// Pages taken from Redis, where another replica had put them.
    pub adopted: u64,
    /// Renders that ended with a page.
    pub renders: u64,
    /// Renders that ended without one.
    pub render_errors: u64,
    /// Of the renders, those during which something they may have read was purged: not kept.
    pub overtaken: u64,
    /// Of the renders, those too large, with too many tags, or with a status that is not kept.
    pub unkept: u64,
    /// Renders that run now.
    pub rendering: u64,
    /// Pages that are looked after now, those that are rendered included.
    pub filling: u64,
    /// Pages held.
    pub pages: u64,
    /// What they take of memory, bytes.
    pub bytes: u64,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fresh: Counter,
    pub(crate) stale: Counter,
    pub(crate) fallback: Counter,
    pub(crate) awaited: Counter,
    pub(crate) refused: Counter,
    pub(crate) failed: Counter,
    pub(crate) confirmed: Counter,
    pub(crate) adopted: Counter,
    pub(crate) renders: Counter,
    pub(crate) render_errors: Counter,
    pub(crate) overtaken: Counter,
    pub(crate) unkept: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// What was counted; what is held is for the caller to fill in.
    pub(crate) fn read(&self) -> PagesStats {
        PagesStats {
            fresh: self.fresh.get(),
            stale: self.stale.get(),
            fallback: self.fallback.get(),
            awaited: self.awaited.get(),
            refused: self.refused.get(),
            failed: self.failed.get(),
            confirmed: self.confirmed.get(),
            adopted: self.adopted.get(),
            renders: self.renders.get(),
            render_errors: self.render_errors.get(),
            overtaken: self.overtaken.get(),
            unkept: self.unkept.get(),
            ..PagesStats::default()
        }
    }
}
