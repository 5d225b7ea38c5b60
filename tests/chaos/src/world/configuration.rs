//! What the shop's processes are configured with. There are two regions in one database, each with its market: one that sells at
//! once, and one that holds an order's units for its payment. `checkout.reserve_s` is a setting of a process, so each region has
//! checkout processes of its own, which know no other; everybody else knows both.

use anyhow::{Context as _, Result};

use super::{HELD, HELD_NUMBER, Proxies, REDIS_PREFIX, RESERVE, VHOST, World};
use crate::proxy::Proxy;

/// For everybody, and for the verbs.
const EVERYBODY: &str = "millpond.toml";
/// For checkout of the region that sells at once.
const SELLS: &str = "sells.toml";
/// For checkout of the region that holds.
const HOLDS: &str = "holds.toml";

/// The file that a process reads, by its name.
pub(super) fn of(process: &str) -> &'static str {
    match process {
        "checkout" | "checkout-2" => SELLS,
        "checkout-held" => HOLDS,
        _ => EVERYBODY,
    }
}

impl World {
    /// Writes them all.
    pub(super) fn configure(&self) -> Result<()> {
        let servers = self.reached_through_proxies()?;
        let (main, held) = (region("main", 1), region(HELD, HELD_NUMBER));
        let files = [
            (EVERYBODY, format!("{servers}{main}{held}[storefront.pages]\nmarket = \"main\"\n")),
            (SELLS, format!("{servers}{main}")),
            (HOLDS, format!("{servers}{held}[checkout]\nreserve_s = {}\n", RESERVE.as_secs())),
        ];
        let write = |(name, text): (&str, String)| std::fs::write(self.folder().join(name), text);
        Ok(files.into_iter().try_for_each(write)?)
    }

    /// Every role reaches every server through its proxy.
    fn reached_through_proxies(&self) -> Result<String> {
        let through = |name: &str, proxy: &Proxy| {
            let url = self.servers.exported(name)?;
            let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()).context("a URL has a port")?;
            anyhow::Ok(url.replacen(&format!(":{port}"), &format!(":{}", proxy.address().port()), 1))
        };
        let Proxies { rabbit, postgres, redis } = &self.proxies;
        Ok(format!(
            "[broker]\norders = \"{}/{VHOST}\"\n[store.database.main]\nurl = {:?}\nmax_connections = 4\n[cache]\n\
             url = {:?}\nkey_prefix = {REDIS_PREFIX:?}\n[checkout.worker]\npark_after_attempts = 3\n[ops]\n\
             bind = \"127.0.0.1:0\"\n[parker]\ncheck_ms = 1000\n",
            through("MILLPOND_TEST_AMQP_URL", rabbit)?,
            through("MILLPOND_TEST_POSTGRES_URL", postgres)?,
            through("MILLPOND_TEST_REDIS_URL", redis)?,
        ))
    }
}

/// A region with its market, of the same name.
fn region(name: &str, number: u16) -> String {
    format!(
        "[[store.region]]\nname = {name:?}\nnumber = {number}\ndatabase = \"main\"\n\
         [[ingress.market]]\nid = {name:?}\nregion = {name:?}\ncurrency = \"EUR\"\n"
    )
}
