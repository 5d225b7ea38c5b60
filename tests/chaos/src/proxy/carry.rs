//! One connection through the proxy.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::commits::Commits;
use super::{Direction, Rules, Strike, Tally, Way};

const PIECE: usize = 64 * 1024;
/// How long a committing server may take to answer somebody who is not there any more.
const COMMIT_WITHIN: Duration = Duration::from_secs(1);

/// Why a connection ends.
enum End {
    /// One side closed it, and so the other.
    Closed,
    /// In the middle of a piece.
    Cut,
    /// The COMMIT was passed on. With `settled` its answer is awaited, so that it certainly took effect.
    Committed {
        settled: bool,
    },
    Struck(Strike),
}

/// Carries bytes both ways until the connection ends, by itself or by a strike.
pub(super) async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    mut rules: watch::Receiver<Rules>,
    tally: &Tally,
) {
    // Without it small frames would wait for each other's acknowledgement, which no direct connection does here.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let born = rules.borrow().strikes;
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump = |direction| Pump { direction, rules: rules.clone(), born, commits: Commits::default(), tally };
        tokio::select! {
            end = pump(Direction::ToServer).run(from_client, to_server) => end,
            end = pump(Direction::ToClient).run(from_server, to_client) => end,
            strike = struck(&mut rules, born) => End::Struck(strike),
        }
    };
    if matches!(end, End::Cut | End::Struck(_)) {
        tally.struck.fetch_add(1, Ordering::Relaxed);
    }
    match end {
        End::Closed | End::Cut => (),
        End::Committed { settled } => {
            if settled {
                let _ = timeout(COMMIT_WITHIN, server.read_u8()).await;
            }
            reset(client, server);
        }
        End::Struck(Strike::ServerGone) => swallow(client, server).await,
        End::Struck(Strike::ClientGone) => swallow(server, client).await,
        End::Struck(_) => reset(client, server),
    }
}

/// A strike that is not a cut: that one waits for its piece.
async fn struck(rules: &mut watch::Receiver<Rules>, born: u64) -> Strike {
    let hits = |rules: &Rules| rules.strikes > born && !matches!(rules.strike, Some(Strike::CutMidFrame(_)) | None);
    match rules.wait_for(hits).await.map(|rules| rules.strike) {
        Ok(Some(strike)) => strike,
        // The proxy is gone, and its connections with it.
        Ok(None) | Err(_) => Strike::Reset,
    }
}

fn reset(client: TcpStream, server: TcpStream) {
    for stream in [client, server] {
        let _ = stream.set_zero_linger();
    }
}

/// One side is gone; the other is not told, and what it says goes nowhere, until it gives up.
async fn swallow(mut stays: TcpStream, gone: TcpStream) {
    drop(gone);
    let mut nowhere = vec![0; PIECE];
    while matches!(stays.read(&mut nowhere).await, Ok(1..)) {}
}

struct Pump<'a> {
    direction: Direction,
    rules: watch::Receiver<Rules>,
    born: u64,
    commits: Commits,
    tally: &'a Tally,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        self.pass(&mut from, &mut to).await.unwrap_or(End::Closed)
    }

    async fn pass(&mut self, from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> io::Result<End> {
        let mut piece = vec![0; PIECE];
        loop {
            let read = from.read(&mut piece).await?;
            if read == 0 {
                to.shutdown().await?;
                return Ok(End::Closed);
            }
            let bytes = &piece[..read];
            self.wait().await;
            let cuts = self.cuts();
            if cuts {
                to.write_all(&bytes[..read / 2]).await?;
                to.flush().await?;
                return Ok(End::Cut);
            }
            to.write_all(bytes).await?;
            if self.direction == Direction::ToServer && self.commits.feed(bytes) && self.rules.borrow().cut_commits {
                let nth = self.tally.commits.fetch_add(1, Ordering::Relaxed);
                if nth.is_multiple_of(2) {
                    self.tally.cut.fetch_add(1, Ordering::Relaxed);
                    return Ok(End::Committed { settled: nth.is_multiple_of(4) });
                }
            }
        }
    }

    async fn wait(&mut self) {
        let direction = self.direction;
        let open = self.rules.wait_for(|rules| rules.way(direction) != Way::Blackhole).await;
        if let Ok(Way::Slow(by)) = open.map(|rules| rules.way(direction)) {
            sleep(by).await;
        }
    }

    fn cuts(&self) -> bool {
        let rules = self.rules.borrow();
        rules.strikes > self.born && rules.strike == Some(Strike::CutMidFrame(self.direction))
    }
}
