//! A TCP proxy whose connections can be cut: to both ends that is the death of the other's process or network. Or held: that
//! is a process, or a network, that hangs.

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
    line: watch::Sender<Line>,
    _accepting: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Passes,
    Held,
    Cut,
}

impl Proxy {
    /// In front of `target`.
    pub(crate) async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let line = watch::Sender::new(Line::Passes);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, line.subscribe()));
        Ok(Self { address, line, _accepting: accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection; new ones are accepted and ended at once.
    pub(crate) fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Keeps every connection open, and passes nothing on.
    pub(crate) fn hold(&self) {
        self.line.send_replace(Line::Held);
    }

    /// Lets new connections through, and goes on with those that were held.
    pub(crate) fn mend(&self) {
        self.line.send_replace(Line::Passes);
    }
}

async fn accept(listener: TcpListener, target: String, line: watch::Receiver<Line>) {
    let mut forwarding = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, mut line) = (target.clone(), line.clone());
        forwarding.spawn(async move {
            let forward = async {
                let (mut client, mut server) = (client, TcpStream::connect(target).await?);
                copy_bidirectional(&mut client, &mut server).await
            };
            tokio::pin!(forward);
            loop {
                let now = *line.borrow_and_update();
                if now == Line::Cut {
                    return;
                }
                tokio::select! {
                    biased;
                    changed = line.changed() => if changed.is_err() { return },
                    _ = &mut forward, if now == Line::Passes => return,
                }
            }
        });
    }
}
