//! The keys that stand in the shop's pages, for everybody to read.

use std::collections::BTreeMap;

use anyhow::bail;
use model::{MarketId, RegionName};
use service::keys::{ApiKeys, KeyKind};

/// Refuses to show a key that is not for pages: whoever reads a server's key there changes prices, orders and stock with it.
///
/// # Errors
/// Says which setting it is, and what belongs there.
pub(super) fn check(
    keys: &ApiKeys,
    shown: &BTreeMap<MarketId, String>,
    markets: &BTreeMap<MarketId, RegionName>,
) -> anyhow::Result<()> {
    for (market, plain) in shown {
        if !markets.contains_key(market) {
            bail!("storefront.shop.keys names the market {market}, which is none of ingress.markets");
        }
        match keys.find(plain) {
            Some(key) if key.kind != KeyKind::Browser => bail!(
                "storefront.shop.keys.{market} is the key {:?} of a server, and pages show it to everybody: make a browser's \
                 with `millpond keys create --name pages --market {market} --origin https://…`, and revoke this one if it was shown",
                key.name
            ),
            Some(key) if key.market != *market => bail!(
                "storefront.shop.keys.{market} is the key {:?} of the market {}: orders from these pages would be placed there",
                key.name,
                key.market
            ),
            Some(_) => {}
            // It may yet be made: the file is looked at again and again.
            None => {
                tracing::warn!(%market, "the key of storefront.shop.keys is not known: nobody can order from these pages");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use service::keys::{self, Entry, Scope};

    use super::*;

    fn key(file: &std::path::Path, market: &str, kind: KeyKind) -> String {
        let (plain, hash) = keys::generate();
        let entry = Entry {
            name: format!("{market} {kind:?}"),
            hash,
            market: market.parse().unwrap(),
            kind,
            scopes: vec![Scope::Orders],
            origins: Vec::new(),
            expires_at: None,
        };
        keys::append(file, &entry).unwrap();
        plain.reveal().to_owned()
    }

    #[test]
    fn pages_show_no_key_but_a_browsers_of_their_own_market() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        let browser = key(&file, "eu", KeyKind::Browser);
        let (of_us, server) = (key(&file, "us", KeyKind::Browser), key(&file, "eu", KeyKind::Server));
        let keys = ApiKeys::open(&file).unwrap();
        let markets = BTreeMap::from(["eu", "us"].map(|id| (id.parse().unwrap(), "main".parse().unwrap())));
        let checked = |market: &str, key: &str| {
            let shown = BTreeMap::from([(market.parse().unwrap(), key.to_owned())]);
            check(&keys, &shown, &markets).map_err(|error| error.to_string())
        };
        assert_eq!(checked("eu", &browser), Ok(()));
        assert_eq!(checked("eu", "mp_live_not_made_yet"), Ok(()));
        for (market, key, said) in
            [("eu", &server, "of a server"), ("eu", &of_us, "market us"), ("mars", &browser, "mars")]
        {
            let error = checked(market, key).unwrap_err();
            assert!(error.contains(said) && !error.contains(key.as_str()), "{error}");
        }
    }
}
