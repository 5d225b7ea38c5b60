//! What the pages of each market share, out of the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use model::MarketId;

use super::Site;
use crate::config::Shop;

/// A [`Site`] for each market, and one for pages that belong to none.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    by_market: HashMap<MarketId, Arc<Site>>,
    none: Arc<Site>,
}

impl Sites {
    /// `markets` are those of the shop; `is_named` says of which a link has to hold the name.
    pub(crate) fn new<'a>(
        config: &Shop,
        markets: impl Iterator<Item = &'a MarketId>,
        is_named: impl Fn(&MarketId) -> bool,
    ) -> Self {
        let ingress = config.ingress_url.trim_end_matches('/').to_owned();
        let none = Site { name: config.name.clone(), ingress, ..Site::default() };
        let site = |market: &MarketId| Site {
            browser_key: config.keys.get(market).cloned().unwrap_or_default(),
            named: is_named(market).then(|| market.clone()),
            ..none.clone()
        };
        let by_market = markets.map(|market| (market.clone(), Arc::new(site(market)))).collect();
        Self { by_market, none: Arc::new(none) }
    }

    /// What the pages of `market` share.
    pub(crate) fn of(&self, market: &MarketId) -> &Arc<Site> {
        self.by_market.get(market).unwrap_or(&self.none)
    }

    /// What pages share that belong to no market: errors.
    pub(crate) fn of_none(&self) -> &Arc<Site> {
        &self.none
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_market_has_its_own_key_and_is_named_where_it_has_to_be() {
        let [eu, us]: [MarketId; 2] = ["eu", "us"].map(|id| id.parse().unwrap());
        let keys = [(eu.clone(), "mp_live_e".to_owned())].into();
        let config = Shop { name: "Mill".to_owned(), keys, ingress_url: "https://in.example/".to_owned() };
        let sites = Sites::new(&config, [&eu, &us].into_iter(), |market| *market == us);
        assert_eq!((sites.of(&eu).browser_key.as_str(), sites.of(&eu).home().as_str()), ("mp_live_e", "/"));
        assert_eq!((sites.of(&us).browser_key.as_str(), sites.of(&us).home().as_str()), ("", "/?market=us"));
        assert_eq!((sites.of_none().name.as_str(), sites.of_none().ingress.as_str()), ("Mill", "https://in.example"));
        assert!(Arc::ptr_eq(sites.of(&"jp".parse().unwrap()), sites.of_none()));
    }
}
