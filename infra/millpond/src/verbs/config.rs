//! `millpond config`: the commented default, and a check.

use std::process::ExitCode;

use anyhow::{Context as _, Error, bail, ensure};
use secrecy::ExposeSecret as _;

use super::say;
use crate::cli::ConfigVerb;
use crate::parts::embedded_file;
use crate::settings::{DEFAULT, Settings};

pub(crate) fn run(
    what: Option<&ConfigVerb>,
    settings: impl FnOnce() -> anyhow::Result<Settings>,
) -> anyhow::Result<ExitCode> {
    match what {
        None | Some(ConfigVerb::Default) => say(DEFAULT.trim_end()),
        Some(ConfigVerb::Check) => {
            check(&settings()?)?;
            say("The configuration is valid. `millpond doctor` says whether its parts can be reached.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What every role asks of its settings before it starts, asked for all of them at once. Reading them does not ask it: a
/// process may be without the secrets of the roles that others run.
fn check(settings: &Settings) -> anyhow::Result<()> {
    let regions = settings.store.region.iter().map(|region| (region.name.clone(), region.number)).collect();
    let checked = [
        settings.log.check().context("log.filter"),
        settings.http.check().context("[http]"),
        settings.metrics_bind().map(drop),
        brokers(settings),
        settings.cache.check().context("cache.url"),
        settings.governor.check().map_err(Error::new),
        settings.ingress.check(&regions).map_err(Error::new),
        markets(settings),
        settings.checkout.check().map_err(Error::msg),
        settings.relay.check().map_err(Error::msg),
        settings.analytics.check().map_err(Error::msg),
        settings.invalidation.check().map_err(Error::msg),
        settings.parker.check().map_err(Error::msg),
        parked(settings),
    ];
    let wrong: Vec<String> = checked.into_iter().filter_map(|part| Some(format!("{:#}", part.err()?))).collect();
    ensure!(wrong.is_empty(), "the configuration is not valid:\n{}", wrong.join("\n"));
    Ok(())
}

fn brokers(settings: &Settings) -> anyhow::Result<()> {
    embedded_file(settings, "orders", &settings.broker.orders)?;
    if !settings.broker.events.expose_secret().is_empty() {
        embedded_file(settings, "events", &settings.broker.events)?;
    }
    Ok(())
}

/// The storefront shows markets that the ingress has.
fn markets(settings: &Settings) -> anyhow::Result<()> {
    let (pages, shop) = (&settings.storefront.pages, &settings.storefront.shop);
    let default = (!pages.market.is_empty()).then_some(("storefront.pages.market", pages.market.as_str()));
    let hosts = pages.hosts.iter().map(|host| ("storefront.pages.hosts", host.market.as_str()));
    let keys = shop.keys.keys().map(|market| ("storefront.shop.keys", market.as_str()));
    let known: Vec<&str> = settings.ingress.markets.iter().map(|market| market.id.as_str()).collect();
    match default.into_iter().chain(hosts).chain(keys).find(|(_, market)| !known.contains(market)) {
        Some((setting, market)) => bail!(
            "{setting} names the market {market}, which no [[ingress.market]] is; known are: {}",
            known.join(", ")
        ),
        None => Ok(()),
    }
}

fn parked(settings: &Settings) -> anyhow::Result<()> {
    let (name, databases) = (&settings.parker.database, &settings.store.database);
    let known: Vec<&str> = databases.keys().map(String::as_str).collect();
    ensure!(
        name.is_empty() || databases.contains_key(name),
        "parker.database = {name:?} is no database below [store.database]; known are: {}",
        known.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        check(&Settings::load(Some(file.path()), &[]).unwrap())
    }

    #[test]
    fn what_any_role_would_not_start_with_is_refused_by_its_name() {
        written("").unwrap();
        for (text, said) in [
            ("[log]\nfilter = \"ingress=loudly\"", "log.filter: the log filter"),
            ("[http]\nmax_connections = 0", "[http]: the HTTP server's max_connections must be 1 to"),
            ("[metrics]\nbind = \"here\"", "metrics.bind = \"here\""),
            ("[broker]\norders = \"kafka://x\"", "broker.orders must start with embedded:"),
            ("[broker]\nevents = \"embedded:\"", "broker.events: embedded: needs the name of a file"),
            ("[cache]\nurl = \"memcached://x\"", "cache.url: the cache's url must be memory:"),
            ("[governor]\nslice_ms = 0", "governor.slice_ms must be 1 to 1000"),
            ("[ingress]\nmax_in_flight_orders = 0", "[ingress] max_in_flight_orders must be 1 to"),
            ("[[ingress.market]]\nid = \"eu\"\nregion = \"atlantis\"\ncurrency = \"EUR\"", "the region atlantis"),
            ("[storefront.pages]\nmarket = \"us\"", "storefront.pages.market names the market us"),
            ("[[storefront.pages.hosts]]\nname = \"us.shop\"\nmarket = \"us\"", "storefront.pages.hosts names"),
            ("[storefront.shop.keys]\nus = \"mp_live_x\"", "storefront.shop.keys names the market us"),
            ("[checkout]\nstatus_queue_batches = 0", "checkout.status_queue_batches is 0"),
            ("[relay]\nbatch = 0", "relay.batch must be 1 to"),
            ("[analytics.orders]\nbatch = 0", "analytics.orders: worker.batch is 0"),
            ("[invalidation.worker]\nprefetch = 0", "invalidation.worker.prefetch is 0"),
            ("[invalidation.cdn.edge]\nkind = \"varnish\"", "invalidation.cdn.edge: urls names no server"),
            ("[parker]\nreplay_per_s = 0.0", "parker.replay_per_s: a replay takes"),
            ("[parker]\ndatabase = \"west\"", "parker.database = \"west\" is no database"),
        ] {
            let error = written(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}\nshould say {said:?}, and says: {error}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let error = written("[relay]\nbatch = 0\n[parker]\nreplay_batch = 0").unwrap_err().to_string();
        assert!(error.contains("relay.batch") && error.contains("parker.replay_batch"), "{error}");
    }
}
