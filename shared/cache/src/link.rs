//! One connection to Redis, held by a task of its own, so that no caller ever waits for a connect.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::Config;

/// The connection while there is one. That there is none *is* the open breaker: calls fail at once.
pub(crate) struct Link {
    shared: Arc<Shared>,
    command_timeout: Duration,
    breaker_failures: u32,
    /// Dropped with the link, and with it the keeper.
    _keeper: JoinSet<()>,
}

struct Shared {
    connection: RwLock<Option<MultiplexedConnection>>,
    /// Calls in a row that ran out of time.
    timeouts: AtomicU32,
    lost: Notify,
    changed: Notify,
}

/// The call had no effect that anybody knows of.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// There is no connection.
    Open,
    /// No answer within the bound.
    TimedOut,
    /// Redis said no, or the connection broke.
    Redis(RedisError),
}

impl Link {
    pub(crate) fn start(client: Client, config: &Config) -> Self {
        let shared = Arc::new(Shared {
            connection: RwLock::new(None),
            timeouts: AtomicU32::new(0),
            lost: Notify::new(),
            changed: Notify::new(),
        });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(client, config.clone(), Arc::clone(&shared)));
        Self {
            shared,
            command_timeout: config.command_timeout(),
            breaker_failures: config.breaker_failures.max(1),
            _keeper: keeper,
        }
    }

    /// Waits for the first connection, at most `patience`.
    pub(crate) async fn connected(&self, patience: Duration) -> bool {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.shared.get().is_some() {
                    return;
                }
                changed.await;
            }
        };
        timeout(patience, wait).await.is_ok()
    }

    /// Whether a call would be tried.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.get().is_some()
    }

    /// Runs `call` within the bound. No retry: it would double the bound, and a miss costs one read of the database.
    pub(crate) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, LinkError> {
        let connection = self.shared.get().ok_or(LinkError::Open)?;
        match timeout(self.command_timeout, call(connection)).await {
            Ok(Ok(answer)) => {
                self.shared.timeouts.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => {
                if error.is_unrecoverable_error() || error.is_io_error() {
                    self.shared.lose(&error);
                }
                Err(LinkError::Redis(error))
            }
            Err(_) => {
                let timeouts = self.shared.timeouts.fetch_add(1, Ordering::Relaxed) + 1;
                if timeouts >= self.breaker_failures {
                    self.shared.lose(&"it answers too slowly");
                }
                Err(LinkError::TimedOut)
            }
        }
    }
}

impl Shared {
    fn get(&self) -> Option<MultiplexedConnection> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, connection: Option<MultiplexedConnection>) -> bool {
        let mut held = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        let was = held.is_some();
        *held = connection;
        was
    }

    /// Opens the breaker. Says so once, however many calls fail at the same moment.
    fn lose(&self, why: &dyn std::fmt::Display) {
        if self.set(None) {
            tracing::warn!(%why, "Redis is away: everything is a miss until it answers again");
            self.timeouts.store(0, Ordering::Relaxed);
            self.lost.notify_one();
        }
    }
}

/// Connects, for ever. A connection is handed out only after it answered a PING within the bound of a call, so that a
/// server too slow to be of use does not close the breaker.
async fn keep(client: Client, config: Config, shared: Arc<Shared>) {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout()))
        // The bound of a call is this crate's own, so that running out of time is told apart from a broken connection.
        .set_response_timeout(None);
    let mut first = true;
    loop {
        let connection = connect(&client, &settings, &config, first).await;
        shared.set(Some(connection));
        shared.changed.notify_waiters();
        tracing::info!("connected to Redis");
        first = false;
        shared.lost.notified().await;
    }
}

async fn connect(
    client: &Client,
    settings: &AsyncConnectionConfig,
    config: &Config,
    mut say: bool,
) -> MultiplexedConnection {
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(config.reconnect_min_ms))
        .with_max_delay(Duration::from_millis(config.reconnect_max_ms))
        .without_max_times()
        .with_jitter()
        .build();
    loop {
        match attempt(client, settings, config.command_timeout()).await {
            Ok(connection) => return connection,
            Err(error) if say => {
                tracing::warn!(%error, "Redis can't be reached: going on without it, and trying again for ever");
                say = false;
            }
            Err(error) => tracing::debug!(%error, "Redis can't be reached"),
        }
        tokio::time::sleep(pauses.next().unwrap_or(config.connect_timeout())).await;
    }
}

async fn attempt(
    client: &Client,
    settings: &AsyncConnectionConfig,
    bound: Duration,
) -> RedisResult<MultiplexedConnection> {
    let mut connection = client.get_multiplexed_async_connection_with_config(settings).await?;
    let ping = redis::cmd("PING");
    let answer = timeout(bound, ping.query_async::<()>(&mut connection)).await;
    answer.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
    Ok(connection)
}
