//! CDNs that keep pages, too: told of every purge, each in its own time.
//!
//! # What is promised
//! - **At least once.** What was purged in the cache is purged in every CDN, and once more `again_ms` later: a CDN that
//!   fetched a page in between may have got the old one from a process that had not heard. What a process owes when it dies is
//!   known to nobody, so the next begins with a purge of all pages (`purge_at_start`).
//! - **A CDN that is slow, refuses or is away delays itself alone**: neither the generations, nor other CDNs, nor the other
//!   servers of the same Varnish. Nothing is acked later for it.
//! - **Bounded.** A tag waits once, however often it changes. Above `max_pending_tags` one purge of all pages takes the place
//!   of all, by the tag that all pages carry ([`cache::Tag::everything`]).
//! - **Within its rate** (`requests_per_s`, `burst`), in batches of as many tags as it takes; retries with a backoff that
//!   doubles, and its `Retry-After`.
//!
//! # To add one
//! A file with a [`Cdn`] in it, a [`CdnKind`], its line in `cdn`; the wire is tested against a server that records.

mod cloudflare;
mod config;
mod fastly;
mod lane;
mod schedule;
mod send;
#[cfg(test)]
mod tests;
mod varnish;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cache::Tag;
use futures::future::{join, join_all};
use http_body_util::Full;
use hyper::Request;
use hyper::header::HeaderValue;
use model::Clock;
use service::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use cloudflare::Cloudflare;
use fastly::Fastly;
use lane::Lane;
use schedule::Limits;
use send::Sender;
use varnish::{Bans, Xkey};

pub use config::{CdnConfig, CdnKind};

/// What is sent.
type Body = Full<Bytes>;

/// How one kind of CDN is asked.
trait Cdn: Send + Sync + 'static {
    /// How much one request may name.
    fn limits(&self) -> Limits;

    /// The request that purges `tags`; never none, and never more than the limits.
    fn request(&self, tags: &[Tag]) -> hyper::http::Result<Request<Body>>;

    /// Why an answer with a status of success is none; none where it is one.
    fn refusal(&self, _body: &[u8]) -> Option<String> {
        None
    }
}

/// A CDN that can't work as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CdnError(String);

/// Whether a CDN can work as configured. Connects to nobody.
pub(crate) fn check(name: &str, config: &CdnConfig) -> Result<(), CdnError> {
    config.check(name)?;
    for (name, url) in targets(name, config) {
        // What can't be written now never can.
        cdn(config, url)
            .request(&[Tag::everything()])
            .map_err(|error| CdnError(format!("invalidation.cdn.{name}: its url, site or token: {error}")))?;
    }
    Ok(())
}

/// Every CDN of the configuration.
pub(crate) struct Cdns {
    lanes: Arc<Vec<Lane>>,
}

impl Cdns {
    /// Connects to nobody yet.
    pub(crate) fn open(
        configs: &BTreeMap<String, CdnConfig>,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, CdnError> {
        let mut lanes = Vec::new();
        for (name, config) in configs {
            check(name, config)?;
            let targets = targets(name, config);
            let sender = Sender::new(targets.iter().any(|(_, url)| url.starts_with("https:")), Arc::clone(clock))?;
            for (name, url) in targets {
                lanes.push(Lane::new(name, cdn(config, url), config.clone(), sender.clone()));
            }
        }
        let lanes = Arc::new(lanes);
        lane::show(&lanes, metrics);
        Ok(Self { lanes })
    }

    /// These tags were purged in the cache. Waits for nobody.
    pub(crate) fn purged(&self, tags: &[Tag]) {
        for lane in self.lanes.iter() {
            lane.purged(tags);
        }
    }

    /// Purges until `finish`, and then what is left, unless a CDN fails. Never ends before `finish`.
    pub(crate) async fn run(&self, finish: &CancellationToken) {
        join(finish.cancelled(), join_all(self.lanes.iter().map(|lane| lane.run(finish)))).await;
    }
}

/// Where a CDN is asked, by names for metrics and logs: each server of a Varnish is one by itself.
fn targets(name: &str, config: &CdnConfig) -> Vec<(String, String)> {
    let urls: Vec<&str> = match (config.kind, config.urls.is_empty()) {
        (CdnKind::Fastly, true) => vec![fastly::API],
        (CdnKind::Cloudflare, true) => vec![cloudflare::API],
        _ => config.urls.iter().map(|url| url.trim_end_matches('/')).collect(),
    };
    let several = urls.len() > 1;
    let named = |(i, url): (usize, &str)| {
        let name = if several { format!("{name}.{}", i + 1) } else { name.to_owned() };
        (name, url.to_owned())
    };
    urls.into_iter().enumerate().map(named).collect()
}

fn cdn(config: &CdnConfig, url: String) -> Box<dyn Cdn> {
    let CdnConfig { soft, tags_at_once, .. } = *config;
    let (site, token) = (config.site.clone(), config.token.clone());
    match config.kind {
        CdnKind::Varnish => Box::new(Xkey { url, soft, tags_at_once }),
        CdnKind::VarnishBan => Box::new(Bans { url, tags_at_once }),
        CdnKind::Fastly => Box::new(Fastly { url, service: site, token, soft, tags_at_once }),
        CdnKind::Cloudflare => Box::new(Cloudflare { url, zone: site, token, tags_at_once }),
    }
}

/// The tags as pages name them in their headers.
fn joined(tags: &[Tag], separator: &str) -> String {
    let texts: Vec<_> = tags.iter().map(Tag::in_header).collect();
    texts.join(separator)
}

/// A header value that no log shows.
fn secret(text: &str) -> hyper::http::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}
