//! One connection that comes back for ever.
//!
//! lapin's own recovery is not used: it covers connections only, and after a channel error its consumers wait for ever.
//! A connection that fails in any way is dropped whole, and a new one is prepared from nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::Topology;
use futures::StreamExt as _;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::fault::Fault;
use crate::lane::Lane;
use crate::silence::Silence;
use crate::topology::{self, DeclareError};

/// How often the state of a connection is looked at besides its events, which do not tell every end.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often a broker that stays away is logged.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// What a connection is for. An alarm stops all frames of a connection that publishes, acks included: hence two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Publish,
    Consume,
    /// Announcements, both ways. Not on the one that consumes: an alarm would then stop acks.
    Announce,
}

/// A connection, prepared, until it fails.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// On the connection that publishes.
    pub(crate) lane: Option<Lane>,
    /// The broker's reason, while it has an alarm.
    pub(crate) blocked: watch::Sender<Option<String>>,
    /// Whether the broker owes an answer, on the connection that publishes.
    pub(crate) silence: Silence,
    /// Cancelled when it is over, and by whoever finds it unusable.
    pub(crate) over: CancellationToken,
}

impl Session {
    /// A fresh channel, within `limit`. A connection that gives none is given up.
    pub(crate) async fn channel(&self, limit: Duration) -> Result<Channel, Fault> {
        let opened = match timeout(limit, self.connection.create_channel()).await {
            Ok(opened) => opened.map_err(Fault::from),
            Err(_elapsed) => Err(Fault::timed_out("opening a channel")),
        };
        if opened.is_err() {
            self.over.cancel();
        }
        opened
    }
}

/// Where a link stands.
#[derive(Clone)]
pub(crate) enum LinkState {
    /// Not connected, and why.
    Down(String),
    Up(Arc<Session>),
}

/// The link and what its supervisor needs.
pub(crate) struct Link {
    purpose: Purpose,
    url: String,
    /// The URL without its password, for people.
    shown: String,
    name: String,
    config: Config,
    state: watch::Sender<LinkState>,
    declared: Arc<Mutex<Topology>>,
}

impl Link {
    pub(crate) fn new(
        purpose: Purpose,
        url: &Url,
        name: &str,
        config: &Config,
        declared: Arc<Mutex<Topology>>,
    ) -> Arc<Self> {
        let suffix = match purpose {
            Purpose::Publish => "publish",
            Purpose::Consume => "consume",
            Purpose::Announce => "announce",
        };
        let frame_kib = match purpose {
            // Announcements are small, and what is lost with a connection may be lost.
            Purpose::Publish | Purpose::Announce => config.publish_frame_kib,
            Purpose::Consume => config.consume_frame_kib,
        };
        let down = LinkState::Down("not connected yet".to_owned());
        Arc::new(Self {
            purpose,
            url: url.with_frames_of(frame_kib),
            shown: url.shown.clone(),
            name: format!("{name} {suffix}"),
            config: config.clone(),
            state: watch::Sender::new(down),
            declared,
        })
    }

    pub(crate) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// The session once there is one.
    pub(crate) async fn up(&self) -> Arc<Session> {
        let mut state = self.state.subscribe();
        loop {
            if let LinkState::Up(session) = &*state.borrow_and_update()
                && !session.over.is_cancelled()
            {
                return Arc::clone(session);
            }
            if state.changed().await.is_err() {
                // Not reached: `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Connects and reconnects until `stop`, then closes.
    pub(crate) async fn supervise(self: Arc<Self>, stop: CancellationToken) {
        let mut backoff = Backoff::new(&self.config);
        let mut told: Option<Instant> = None;
        while let Some(opened) = stop.run_until_cancelled(self.open()).await {
            match opened {
                Ok(session) => {
                    tracing::info!(link = self.name, "connected to RabbitMQ at {}", self.shown);
                    told = None;
                    let begin = Instant::now();
                    let session = Arc::new(session);
                    self.state.send_replace(LinkState::Up(Arc::clone(&session)));
                    let silent_after = self.config.silent_after();
                    let following = session.silence.follow(session.lane.as_ref(), silent_after, &session.blocked);
                    let watching = async {
                        tokio::select! {
                            why = watch_over(&session) => why,
                            never = following => match never {},
                        }
                    };
                    let why = stop.run_until_cancelled(watching).await;
                    session.over.cancel();
                    let down = why.clone().unwrap_or_else(|| "closed".to_owned());
                    self.state.send_replace(LinkState::Down(down));
                    let Some(why) = why else {
                        return self.close(&session).await;
                    };
                    tracing::warn!(link = self.name, "lost the connection to RabbitMQ, reconnecting: {why}");
                    backoff.reset_after(begin.elapsed());
                }
                Err(why) => {
                    if told.is_none_or(|last| last.elapsed() >= REMIND_EVERY) {
                        told = Some(Instant::now());
                        tracing::warn!(link = self.name, "can't reach RabbitMQ at {}, still trying: {why}", self.shown);
                    }
                    self.state.send_replace(LinkState::Down(why));
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await;
        }
        self.state.send_replace(LinkState::Down("closed".to_owned()));
    }

    async fn open(&self) -> Result<Session, String> {
        let opening = async {
            let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
            let connection = Connection::connect(&self.url, properties).await.map_err(in_words)?;
            self.prepare(connection).await
        };
        let limit = self.config.connect_timeout();
        timeout(limit, opening).await.unwrap_or_else(|_elapsed| Err(format!("no answer within {limit:?}")))
    }

    /// Redeclares what was declared, because the broker may have come back empty, or a queue may have been deleted.
    async fn prepare(&self, connection: Connection) -> Result<Session, String> {
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if declared != Topology::default() {
            let channel = connection.create_channel().await.map_err(in_words)?;
            topology::declare(&channel, &declared).await.map_err(|error| match error {
                DeclareError::Fatal(error) => error.to_string(),
                DeclareError::Lost(why) => why,
            })?;
        }
        let lane = match self.purpose {
            Purpose::Publish => Some(Lane::open(&connection).await.map_err(in_words)?),
            Purpose::Consume | Purpose::Announce => None,
        };
        let (silence, over) = (Silence::default(), CancellationToken::new());
        Ok(Session { connection, lane, blocked: watch::Sender::new(None), silence, over })
    }

    async fn close(&self, session: &Session) {
        let closing = session.connection.close(200, "closed by its owner".into());
        match timeout(self.config.close_timeout(), closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(link = self.name, %error, "the connection was gone before it was closed"),
            Err(_elapsed) => tracing::warn!(link = self.name, "RabbitMQ did not confirm the end of the connection"),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn in_words(error: lapin::Error) -> String {
    error.to_string()
}

/// Follows a connection until it is over, and says why.
async fn watch_over(session: &Session) -> String {
    let mut events = std::pin::pin!(session.connection.events_listener());
    let mut look = interval(LOOK_EVERY);
    let mut why = None;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!("RabbitMQ takes no publishes: {reason}");
                    session.blocked.send_replace(Some(reason));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!("RabbitMQ takes publishes again");
                    session.blocked.send_replace(None);
                }
                // A channel's error is one, too: the connection may live on.
                Some(Event::Error(error)) => why = Some(error.to_string()),
                _ => {}
            },
            _ = look.tick() => {}
            () = session.over.cancelled() => return why.unwrap_or_else(|| "it failed in use".to_owned()),
        }
        if !session.connection.status().connected() {
            return why.unwrap_or_else(|| "the connection ended".to_owned());
        }
    }
}

/// A broker's URL, checked.
#[derive(Clone)]
pub(crate) struct Url {
    pub(crate) full: String,
    pub(crate) shown: String,
    /// Whether the size of frames is left to the configuration.
    frames: bool,
}

impl Url {
    /// # Errors
    /// In words, without the password.
    pub(crate) fn parse(url: &str, heartbeat_s: u16) -> Result<Self, String> {
        let uri: lapin::uri::AMQPUri = url.parse().map_err(|error| format!("the URL is not an AMQP URL: {error}"))?;
        // lapin's parser would connect to localhost instead.
        if url.contains("@[") || url.contains("://[") {
            return Err("the URL has an IPv6 address in brackets: use a host name".to_owned());
        }
        let full = match (uri.query.heartbeat, url.contains('?')) {
            (Some(_), _) => url.to_owned(),
            (None, true) => format!("{url}&heartbeat={heartbeat_s}"),
            (None, false) => format!("{url}?heartbeat={heartbeat_s}"),
        };
        let frames = uri.query.frame_max.is_none();
        let lapin::uri::AMQPAuthority { host, port, userinfo } = &uri.authority;
        let shown = format!("{host}:{port}, virtual host {:?}, as {}", uri.vhost, userinfo.username);
        Ok(Self { full, shown, frames })
    }

    /// With frames of at most so many KiB, unless it names a bound of its own.
    fn with_frames_of(&self, kib: u32) -> String {
        let Self { full, frames, .. } = self;
        if *frames { format!("{full}&frame_max={}", kib.saturating_mul(1_024)) } else { full.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_a_heartbeat_unless_it_has_one() {
        let full = |url| Url::parse(url, 10).map(|url| url.full);
        assert_eq!(full("amqp://h").as_deref(), Ok("amqp://h?heartbeat=10"));
        assert_eq!(full("amqp://h/v?frame_max=8192").as_deref(), Ok("amqp://h/v?frame_max=8192&heartbeat=10"));
        assert_eq!(full("amqp://h?heartbeat=30").as_deref(), Ok("amqp://h?heartbeat=30"));
    }

    #[test]
    fn frames_are_as_large_as_the_configuration_says_unless_the_url_does() {
        let full = |url| Url::parse(url, 10).unwrap().with_frames_of(32);
        assert_eq!(full("amqp://h"), "amqp://h?heartbeat=10&frame_max=32768");
        assert_eq!(full("amqp://h?frame_max=9000"), "amqp://h?frame_max=9000&heartbeat=10");
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url = Url::parse("amqps://shop:secret@broker.example/prod", 10).unwrap();
        assert_eq!(url.shown, "broker.example:5671, virtual host \"prod\", as shop");
    }

    #[test]
    fn a_url_that_would_lead_elsewhere_is_refused() {
        for url in ["http://h", "h:5672", "amqp://u:p@[::1]:5672"] {
            assert!(Url::parse(url, 10).is_err(), "{url}");
        }
    }
}
