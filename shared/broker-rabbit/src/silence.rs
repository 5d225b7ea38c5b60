//! A broker that says nothing: it hangs, or the line to it does, and its connections stay open.
//!
//! Heartbeats find out in some twenty seconds. Until then whoever publishes would wait for the publish timeout, and learn that
//! nothing is known; an answer at once that says "not sent" is worth more. So the broker is asked, on a channel of its own beside
//! the one that publishes, whether it is there. Not by confirms: a queue without a leader confirms nothing, and the broker, with
//! its other queues, is well.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::lane::Lane;

/// From one question to the next.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Whether the broker of a session owes an answer for too long.
#[derive(Default)]
pub(crate) struct Silence(AtomicBool);

impl Silence {
    pub(crate) fn lasts(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for as long as the session lasts. An answer that takes longer than `after` is silence until it is there. No `after`:
    /// nobody asks. While it is `blocked` it answers nothing on this connection either, and has said why: that is not told again.
    pub(crate) async fn follow(
        &self,
        lane: Option<&Lane>,
        after: Option<Duration>,
        blocked: &watch::Sender<Option<String>>,
    ) -> Infallible {
        let (Some(lane), Some(after)) = (lane, after) else { return pending().await };
        let mut asks = interval(ASK_EVERY);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            asks.tick().await;
            let asked = Instant::now();
            let mut told = false;
            let mut answer = std::pin::pin!(lane.ask());
            let answered = if let Ok(answered) = timeout(after, &mut answer).await {
                answered
            } else {
                self.0.store(true, Ordering::Relaxed);
                told = blocked.borrow().is_none();
                if told {
                    tracing::warn!("RabbitMQ has not answered for {after:?}: nothing is published until it does");
                }
                let answered = answer.await;
                self.0.store(false, Ordering::Relaxed);
                answered
            };
            match answered {
                Ok(()) if told => tracing::info!("RabbitMQ answers again, after {:?}", asked.elapsed()),
                Ok(()) => {}
                // The channel is over, and the connection is looked at by others.
                Err(_) => return pending().await,
            }
        }
    }
}
