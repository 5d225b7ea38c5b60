//! The task that sends: what many callers publish at the same time leaves together.
//!
//! A publish by itself costs a wake of lapin's thread, a write, a read by the broker and a sync of its log. Thirty of them
//! that leave together cost little more. So while confirms are on their way, what comes meanwhile is gathered, until they
//! are there, or as much has come as is in flight, or [`Config::publish_linger_us`] is over: a queue that does not confirm
//! delays the others by no more than that. Where nothing is in flight a publish leaves at once.

use std::sync::Arc;
use std::time::Duration;

use broker::{Publish, PublishError};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::flight::{Flight, Permits, Reaper};
use crate::link::{Link, LinkState, Session};

/// Requests taken from the queue in one go.
const AT_ONCE: usize = 1_024;

/// One outcome per message, or why none was sent.
type Outcomes = Result<Vec<Result<(), PublishError>>, PublishError>;

/// What one caller publishes.
pub(crate) struct Request {
    pub(crate) publishes: Vec<Publish>,
    pub(crate) permits: Permits,
    pub(crate) told: oneshot::Sender<Outcomes>,
}

/// Sends for every caller of a publisher.
pub(crate) struct Gatherer {
    link: Arc<Link>,
    requests: mpsc::Receiver<Request>,
    reaper: Reaper,
    linger: Duration,
    max_body: usize,
    patience: Patience,
}

/// How long confirms are awaited.
#[derive(Clone, Copy)]
struct Patience {
    publish_timeout: Duration,
    blocked_grace: Duration,
}

impl Gatherer {
    pub(crate) fn new(link: Arc<Link>, config: &Config, requests: mpsc::Receiver<Request>, reaper: Reaper) -> Self {
        Self {
            link,
            requests,
            reaper,
            linger: config.publish_linger(),
            max_body: config.max_message_kib as usize * 1_024,
            patience: Patience { publish_timeout: config.publish_timeout(), blocked_grace: config.blocked_grace() },
        }
    }

    /// Sends until `stop` or the last publisher is gone. What was sent and not told by then is unknown to its caller.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut flights = FuturesUnordered::new();
        let mut gathered: Vec<Request> = Vec::new();
        let mut due = Instant::now();
        loop {
            if !gathered.is_empty() && (flights.len() <= gathered.len() || due <= Instant::now()) {
                flights.extend(self.launch(std::mem::take(&mut gathered)).await);
            }
            let nothing_gathered = gathered.is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = flights.next() => {
                    // The broker confirms many at once; no look at the rest of this in between.
                    while let Some(Some(())) = flights.next().now_or_never() {}
                }
                came = self.requests.recv_many(&mut gathered, AT_ONCE) => {
                    if came == 0 {
                        break;
                    }
                    if nothing_gathered {
                        due = Instant::now() + self.linger;
                    }
                }
                () = sleep_until(due), if !nothing_gathered => {}
            }
        }
        while flights.next().await.is_some() {}
    }

    /// Queues the frames of `requests`, in order. Each future that it gives tells one caller.
    async fn launch(&self, requests: Vec<Request>) -> Vec<impl Future<Output = ()> + use<>> {
        let session = match session(&self.link) {
            Ok(session) => session,
            Err(error) => {
                for request in requests {
                    request.refuse(&error);
                }
                return Vec::new();
            }
        };
        let give_up = give_up(Arc::clone(&session), self.patience).boxed().shared();
        let mut landing = Vec::with_capacity(requests.len());
        for Request { publishes, permits, told } in requests {
            let Some(lane) = &session.lane else { continue };
            let mut flight = Flight::new(publishes, permits, lane, self.max_body, &self.reaper);
            flight.send(lane).await;
            let landed = Landing { flight, session: Arc::clone(&session), told: Some(told) };
            landing.push(landed.or_until(give_up.clone()));
        }
        landing
    }
}

impl Request {
    fn refuse(self, error: &PublishError) {
        // A caller that is gone wants no answer.
        drop(self.told.send(Err(error.clone())));
    }
}

/// One caller's messages in the air. Dropped, it tells what is known by then; the rest is unknown.
struct Landing {
    flight: Flight,
    session: Arc<Session>,
    told: Option<oneshot::Sender<Outcomes>>,
}

impl Landing {
    async fn or_until(mut self, give_up: impl Future<Output = ()>) {
        let session = Arc::clone(&self.session);
        let Some(lane) = &session.lane else { return };
        tokio::select! {
            biased;
            () = self.flight.land(lane) => {}
            () = give_up => self.flight.look(lane),
        }
        if !lane.usable() {
            // A missing exchange, say.
            session.over.cancel();
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let (Some(told), Some(lane)) = (self.told.take(), &self.session.lane) {
            // A caller that is gone wants no answer.
            drop(told.send(Ok(self.flight.outcomes(lane))));
        }
    }
}

/// The session to publish on, where there is one that takes publishes.
pub(crate) fn session(link: &Link) -> Result<Arc<Session>, PublishError> {
    match link.state() {
        LinkState::Up(session) if !session.over.is_cancelled() => {
            if session.lane.as_ref().is_none_or(|lane| !lane.usable()) {
                // A channel error leaves the connection open; a new connection brings a new channel.
                session.over.cancel();
                return Err(PublishError::Unavailable);
            }
            let blocked = session.blocked.borrow().clone();
            match blocked {
                // An alarm makes the broker deaf to this connection, and says why.
                Some(reason) => Err(PublishError::Blocked(reason)),
                None if session.silence.lasts() => Err(PublishError::Unavailable),
                None => Ok(session),
            }
        }
        _ => Err(PublishError::Unavailable),
    }
}

/// Resolves when waiting for confirms any longer makes no sense.
async fn give_up(session: Arc<Session>, patience: Patience) {
    let mut blocked = session.blocked.subscribe();
    tokio::select! {
        () = sleep(patience.publish_timeout) => {}
        () = until_blocked(&mut blocked) => sleep(patience.blocked_grace).await,
    }
}

async fn until_blocked(blocked: &mut watch::Receiver<Option<String>>) {
    // Its sender lives in the session that the caller holds, so that it can't fail.
    let _reason_or_gone = blocked.wait_for(Option::is_some).await.is_ok();
}
