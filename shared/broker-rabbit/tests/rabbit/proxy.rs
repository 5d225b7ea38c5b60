//! A TCP proxy whose connections can be cut: to both ends that is the death of the other's process or network.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards until it is cut; dropped, it is cut for good.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    passes: watch::Sender<bool>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// In front of `target`.
    pub(crate) async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let passes = watch::Sender::new(true);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, passes.subscribe()));
        Ok(Self { address, passes, _accepting: accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection; new ones are accepted and ended at once.
    pub(crate) fn cut(&self) {
        self.passes.send_replace(false);
    }

    /// Lets new connections through.
    pub(crate) fn mend(&self) {
        self.passes.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: String, passes: watch::Receiver<bool>) {
    let mut forwarding = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, mut passes) = (target.clone(), passes.clone());
        forwarding.spawn(async move {
            let forward = async {
                let (mut client, mut server) = (client, TcpStream::connect(target).await?);
                copy_bidirectional(&mut client, &mut server).await
            };
            tokio::select! {
                biased;
                _ = passes.wait_for(|passes| !passes) => {}
                _ = forward => {}
            }
        });
    }
}
