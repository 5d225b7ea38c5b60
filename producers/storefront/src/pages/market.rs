//! Which market a public read is for.
//!
//! `?market=` names it, else the host that the request came to, else there is one by default. Everything of that is in the URL,
//! so that any cache between has the same page for the same URL. Where the visitor is, what they sent before, which language
//! they read decides nothing.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use model::{MarketId, RegionName, RegionNumber};
use service::{Problem, Tasks};
use store::{Database, Databases, Region, Target};

use super::problems::INVALID_QUERY;
use super::room::Room;
use crate::config::PublicReads;

/// A market as its readers need it.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) id: MarketId,
    pub(crate) region: Region,
    /// Where it is read; shared by all markets of the database.
    pub(crate) room: Arc<Room>,
}

/// Every market that can be read.
#[derive(Debug)]
pub(crate) struct Markets {
    by_id: HashMap<String, Arc<Market>>,
    /// Lower case.
    by_host: HashMap<String, Arc<Market>>,
    /// Of a read that names none.
    default: Option<Arc<Market>>,
}

impl Markets {
    /// What of the configuration names a market that can't be read is said in the log, and refused by its requests.
    pub(crate) fn new<'a>(
        markets: impl Iterator<Item = (&'a MarketId, &'a RegionName)>,
        databases: &Databases,
        config: &PublicReads,
        tasks: &Tasks,
    ) -> Self {
        let mut rooms: HashMap<String, Arc<Room>> = HashMap::new();
        let mut by_id = HashMap::new();
        for (id, region) in markets {
            let Some(region) = databases.by_name(region).cloned() else { continue };
            let database = &region.database;
            let room = rooms
                .entry(database.name().to_owned())
                .or_insert_with(|| Room::new(database.name(), config, tasks, answers(database)));
            let market = Market { id: id.clone(), room: Arc::clone(room), region };
            by_id.insert(id.to_string(), Arc::new(market));
        }
        let found = |id: &str, setting: &str| {
            let market = by_id.get(id);
            if market.is_none() {
                tracing::error!(market = id, "{setting} names a market that is not configured here");
            }
            market.cloned()
        };
        let default = match config.market.as_str() {
            "" if by_id.len() == 1 => by_id.values().next().cloned(),
            "" => None,
            named => found(named, "storefront.pages.market"),
        };
        let host = |host: &crate::config::Host| {
            let market = found(host.market.as_str(), "storefront.pages.hosts")?;
            Some((host.name.to_ascii_lowercase(), market))
        };
        let by_host = config.hosts.iter().filter_map(host).collect();
        Self { by_id, by_host, default }
    }

    /// The market with this id.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Market>> {
        self.by_id.get(id)
    }

    /// Whether there is more than one.
    pub(crate) fn are_several(&self) -> bool {
        self.by_id.len() > 1
    }

    /// A market of this region.
    pub(crate) fn in_region(&self, number: RegionNumber) -> Option<&Arc<Market>> {
        self.by_id.values().find(|market| market.region.number == number)
    }

    /// Whether links have to name `market`, since it is neither the default nor a host's.
    pub(crate) fn has_to_be_named(&self, market: &MarketId) -> bool {
        let is_it = |other: &Arc<Market>| other.id == *market;
        !self.default.iter().any(is_it) && !self.by_host.values().any(is_it)
    }

    /// The market of a request; `named` is its parameter.
    ///
    /// # Errors
    /// 400 for one that is not there, and for none at all.
    pub(crate) fn of(&self, named: Option<&str>, uri: &Uri, headers: &HeaderMap) -> Result<&Arc<Market>, Problem> {
        if let Some(named) = named {
            return self.by_id.get(named).ok_or_else(|| {
                let known = self.known();
                Problem::new(INVALID_QUERY, format!("the parameter market names none of the shop's markets ({known})"))
            });
        }
        let by_host = if self.by_host.is_empty() {
            None
        } else {
            host(uri, headers).and_then(|host| self.by_host.get(&host.to_ascii_lowercase()))
        };
        by_host.or(self.default.as_ref()).ok_or_else(|| {
            let known = self.known();
            let detail =
                format!("the shop has several markets ({known}), and this host is none's: name one, as in ?market=ID");
            Problem::new(INVALID_QUERY, detail)
        })
    }

    fn known(&self) -> String {
        let mut ids: Vec<&str> = self.by_id.keys().map(String::as_str).collect();
        ids.sort_unstable();
        ids.join(", ")
    }
}

/// How many statements of readers the primary has answered so far.
fn answers(database: &Arc<Database>) -> impl Fn() -> u64 + Send + Sync + use<> {
    let database = Arc::clone(database);
    move || {
        let by_primary = database.answered_reads().filter(|(_, target, _)| *target == Target::Primary);
        by_primary.map(|(_, _, count)| count).sum::<u64>()
    }
}

/// The host that the client asked, without its port. What a proxy says beside it is not believed: it decides nothing that the
/// URL does not.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(host) = uri.host() {
        return Some(host.to_owned());
    }
    let host: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    Some(host.host().to_owned())
}
