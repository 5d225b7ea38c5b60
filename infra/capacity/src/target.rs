//! Where the load goes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why a URL can't be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not `http://host:port`.
    #[error("{0} is not a URL such as http://127.0.0.1:8080 (without TLS and path)")]
    Url(String),
    /// A host of the network that was not named on purpose.
    #[error("{0} is not this machine: a load test of another host needs its name a second time")]
    NotNamed(String),
    /// No address.
    #[error("the host {0} has no address")]
    Unknown(String),
    /// Nobody listens.
    #[error("nobody answers at {address}")]
    Away {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// An ingress, by address.
#[derive(Debug)]
pub struct Target {
    authority: String,
    address: SocketAddr,
}

impl Target {
    /// Reads `http://host:port`. A host that is not this machine must be given again as `named`, so that a typing error
    /// floods nobody.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn resolve(url: &str, named: Option<&str>) -> Result<Self, TargetError> {
        let bad = || TargetError::Url(url.to_owned());
        let uri: hyper::Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let bare = authority.as_str().bytes().all(|byte| byte != b'@');
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") || uri.query().is_some() || !bare {
            return Err(bad());
        }
        let host = authority.host().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !here && named != Some(host) {
            return Err(TargetError::NotNamed(host.to_owned()));
        }
        let unknown = || TargetError::Unknown(host.to_owned());
        let mut addresses = lookup_host((host, authority.port_u16().unwrap_or(80))).await.map_err(|_| unknown())?;
        Ok(Self { authority: authority.to_string(), address: addresses.next().ok_or_else(unknown)? })
    }

    /// Whether somebody listens there, before anything is sent.
    ///
    /// # Errors
    /// [`TargetError::Away`].
    pub async fn check(&self) -> Result<(), TargetError> {
        self.connect().await.map(drop).map_err(|source| TargetError::Away { address: self.address, source })
    }

    /// As in the `Host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TcpStream> {
        let connecting = timeout(CONNECT_WITHIN, TcpStream::connect(self.address));
        let stream = connecting.await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_machine_or_a_host_named_twice_is_a_target() {
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/", "http://[::1]:1"] {
            Target::resolve(url, None).await.unwrap();
        }
        for url in ["127.0.0.1:8080", "https://127.0.0.1", "http://127.0.0.1/v1/orders", "http://u:p@127.0.0.1", ""] {
            assert!(matches!(Target::resolve(url, None).await, Err(TargetError::Url(_))), "{url}");
        }
        // An address that documentation alone may use (RFC 5737).
        let elsewhere = "http://192.0.2.1:8080";
        assert!(matches!(Target::resolve(elsewhere, None).await, Err(TargetError::NotNamed(_))));
        Target::resolve(elsewhere, Some("192.0.2.1")).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_at_is_known_before_the_load() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target::resolve(&format!("http://{free}"), None).await.unwrap();
        assert!(matches!(target.check().await, Err(TargetError::Away { .. })));
    }
}
