//! Settings of a CDN.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::CdnError;

/// What takes the purges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CdnKind {
    /// Varnish with its module xkey and `infra/varnish/millpond.vcl`.
    Varnish,
    /// Varnish without xkey, with `infra/varnish/millpond-ban.vcl`: bans, which are never soft.
    VarnishBan,
    /// Fastly, by surrogate keys.
    Fastly,
    /// Cloudflare, by cache tags; never soft.
    Cloudflare,
}

/// One CDN, `[invalidation.cdn.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CdnConfig {
    /// What it is.
    pub kind: CdnKind,
    /// Varnish: every server, `http://10.0.0.5:6081`; each is purged by itself. Fastly and Cloudflare: the API, where it is not
    /// the usual one.
    pub urls: Vec<String>,
    /// Fastly: the id of the service. Cloudflare: that of the zone.
    pub site: String,
    /// Fastly and Cloudflare: the token that may purge, and nothing else.
    pub token: SecretString,
    /// Whether what is purged may be served once more while it is fetched anew, where the CDN can: nobody waits then.
    pub soft: bool,
    /// Requests per second, on average. None: 100 for Varnish, 5 for Fastly, 5 a minute (the free plan's) for Cloudflare.
    pub requests_per_s: Option<f64>,
    /// Requests at once after a while without any. None: 100 for Varnish, 20 for Fastly and Cloudflare.
    pub burst: Option<u32>,
    /// Tags in one request at most. None: as many as the CDN takes (Varnish 100, bans 25, Fastly 256, Cloudflare 100).
    pub tags_at_once: Option<usize>,
    /// Tags that wait for the CDN at most; one more, and all pages are purged instead, by the one tag that all have. 1 or more.
    pub max_pending_tags: usize,
    /// How long a purge waits, ms: processes should have heard of it by then, or the CDN fetches the old page from one that
    /// has not.
    pub after_ms: u64,
    /// How long after a purge its tags are purged a second time, ms: a process that missed the announcement finds out by
    /// then. Longer than `cache.pages.trust_ms` and `grace_ms` together. 0: not a second time.
    pub again_ms: u64,
    /// Whether all pages are purged at the start: what the process before this one still owed is known to nobody.
    pub purge_at_start: bool,
    /// The longest for one request, ms.
    pub timeout_ms: u64,
    /// The first pause after a request that failed, ms; it doubles, with jitter.
    pub retry_min_ms: u64,
    /// The longest such pause, ms; the tries go on for ever.
    pub retry_max_ms: u64,
    /// The longest that a CDN's `Retry-After` is obeyed, seconds.
    pub retry_after_max_s: u64,
}

impl Default for CdnConfig {
    fn default() -> Self {
        Self {
            kind: CdnKind::Varnish,
            urls: Vec::new(),
            site: String::new(),
            token: SecretString::from(""),
            soft: true,
            requests_per_s: None,
            burst: None,
            tags_at_once: None,
            max_pending_tags: 10_000,
            after_ms: 50,
            again_ms: 2_000,
            purge_at_start: true,
            timeout_ms: 5_000,
            retry_min_ms: 200,
            retry_max_ms: 30_000,
            retry_after_max_s: 300,
        }
    }
}

impl CdnConfig {
    /// Whether this can work.
    pub(super) fn check(&self, name: &str) -> Result<(), CdnError> {
        let refuse = |what: &str| Err(CdnError(format!("invalidation.cdn.{name}: {what}")));
        match self.kind {
            CdnKind::Varnish | CdnKind::VarnishBan if self.urls.is_empty() => {
                refuse("urls names no server: write urls = [\"http://10.0.0.5:6081\"]")
            }
            CdnKind::Fastly | CdnKind::Cloudflare if self.site.is_empty() => {
                refuse("site is empty: set it to the id of the service (Fastly) or of the zone (Cloudflare)")
            }
            CdnKind::Fastly | CdnKind::Cloudflare if self.token.expose_secret().is_empty() => {
                refuse("token is empty: set it to an API token that may purge")
            }
            _ if self.requests_per_s.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) => {
                refuse("requests_per_s must be above 0; leave it out for the usual rate")
            }
            _ if self.burst == Some(0) || self.tags_at_once == Some(0) || self.max_pending_tags == 0 => {
                refuse("burst, tags_at_once and max_pending_tags must be 1 or more")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.requests_per_s.unwrap_or(match self.kind {
            CdnKind::Varnish | CdnKind::VarnishBan => 100.0,
            CdnKind::Fastly => 5.0,
            CdnKind::Cloudflare => 5.0 / 60.0,
        })
    }

    pub(super) fn burst(&self) -> f64 {
        f64::from(self.burst.unwrap_or(match self.kind {
            CdnKind::Varnish | CdnKind::VarnishBan => 100,
            CdnKind::Fastly | CdnKind::Cloudflare => 20,
        }))
    }

    pub(super) fn after(&self) -> Duration {
        Duration::from_millis(self.after_ms)
    }

    pub(super) fn again(&self) -> Option<Duration> {
        (self.again_ms > 0).then(|| Duration::from_millis(self.again_ms))
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn retry_min(&self) -> Duration {
        Duration::from_millis(self.retry_min_ms.max(1))
    }

    pub(super) fn retry_max(&self) -> Duration {
        Duration::from_millis(self.retry_max_ms).max(self.retry_min())
    }

    pub(super) fn retry_after_max(&self) -> Duration {
        Duration::from_secs(self.retry_after_max_s)
    }
}
