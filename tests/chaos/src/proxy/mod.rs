//! A TCP proxy that stands between the roles and a server, and does to their connections what networks do.
//!
//! A [`Proxy`] forwards to one server. [`Proxy::set`] changes how bytes pass from now on, per direction; a [`Strike`] hits
//! the connections that are there, once. New connections are not struck, but what was set holds for them too.

mod carry;
mod commits;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the role says.
    ToServer,
    /// What the server answers.
    ToClient,
}

/// How bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// At once.
    #[default]
    Open,
    /// Each piece of up to 64 KiB this much later: a slow and narrow line.
    Slow(Duration),
    /// Not at all, and nobody is told: they wait until the way is open again.
    Blackhole,
}

/// What happens to every connection that is there, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Both sides get a reset.
    Reset,
    /// The server's side is closed, and the client is not told: what it sends goes nowhere.
    ServerGone,
    /// The client's side is closed, and the server is not told.
    ClientGone,
    /// The next piece in this direction passes by half, then both sides are closed.
    CutMidFrame(Direction),
}

/// What holds at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Rules {
    to_server: Way,
    to_client: Way,
    /// How often [`Proxy::strike`] was called, and with what at last.
    strikes: u64,
    strike: Option<Strike>,
    /// Whether every second COMMIT is followed by a cut.
    cut_commits: bool,
}

impl Rules {
    fn way(&self, direction: Direction) -> Way {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}

/// A listener on loopback in front of a server. Gone, with its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    tally: Arc<Tally>,
    _stop: DropGuard,
    _accepting: JoinSet<()>,
}

/// Counts over all connections.
#[derive(Debug, Default)]
struct Tally {
    commits: AtomicU64,
    cut: AtomicU64,
    struck: AtomicU64,
}

impl Proxy {
    /// Listens on a free port and forwards to `server`, whether it is there already or not.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (rules, follow) = watch::channel(Rules::default());
        let tally = Arc::new(Tally::default());
        let stop = CancellationToken::new();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, follow, Arc::clone(&tally), stop.clone()));
        Ok(Self { address, rules, tally, _stop: stop.drop_guard(), _accepting: accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How bytes pass in a direction from now on.
    pub fn set(&self, direction: Direction, way: Way) {
        self.rules.send_modify(|rules| match direction {
            Direction::ToServer => rules.to_server = way,
            Direction::ToClient => rules.to_client = way,
        });
    }

    /// Hits every connection that is there.
    pub fn strike(&self, strike: Strike) {
        self.rules.send_modify(|rules| {
            rules.strikes += 1;
            rules.strike = Some(strike);
        });
    }

    /// Whether every second COMMIT of a PostgreSQL client is cut off: it reaches the server, and its answer reaches nobody.
    pub fn cut_commits(&self, on: bool) {
        self.rules.send_modify(|rules| rules.cut_commits = on);
    }

    /// How many connections were struck so far.
    pub fn struck(&self) -> u64 {
        self.tally.struck.load(Ordering::Relaxed)
    }

    /// How many COMMITs were cut off so far.
    pub fn commits_cut(&self) -> u64 {
        self.tally.cut.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    rules: watch::Receiver<Rules>,
    tally: Arc<Tally>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let serve = async {
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((client, _)) = accepted {
                    let (rules, tally) = (rules.clone(), Arc::clone(&tally));
                    connections.spawn(async move {
                        // A server that is away: the client sees its connection closed, as by any balancer.
                        if let Ok(server) = TcpStream::connect(server).await {
                            carry::carry(client, server, rules, &tally).await;
                        }
                    });
                },
                Some(_) = connections.join_next() => (),
            }
        }
    };
    stop.run_until_cancelled(serve).await;
}

#[cfg(test)]
mod tests;
