//! What a worker says of itself each second, to whoever listens. It may be lost, and delays nothing: see
//! [`broker::Broker::announce`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::announce::HEARTBEATS;
use flow::{Beat, LimitedBy};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::context::Context;
use crate::governor::Seat;
use crate::stats::StatsSnapshot;

/// Rates are over as many heartbeats.
const RATED: usize = 5;

/// Announces until it is dropped.
pub(crate) async fn beat_for_ever<H>(context: Arc<Context<H>>) -> std::convert::Infallible {
    let mut due = interval(Duration::from_millis(context.config.heartbeat_ms.max(1)));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heart = Heart { worker: format!("{:016x}", rand::random::<u64>()), looks: VecDeque::new() };
    loop {
        let now = due.tick().await;
        let beat = heart.beat(&context, now);
        context.broker.announce(HEARTBEATS, beat.to_bytes().into());
    }
}

struct Heart {
    /// Names this worker for as long as it runs.
    worker: String,
    looks: VecDeque<(Instant, StatsSnapshot)>,
}

impl Heart {
    fn beat<H>(&mut self, context: &Context<H>, now: Instant) -> Beat {
        let stats = context.stats.snapshot();
        self.looks.push_back((now, stats));
        if self.looks.len() > RATED + 1 {
            self.looks.pop_front();
        }
        Beat {
            worker: self.worker.clone(),
            queue: context.queue.as_str().to_owned(),
            taken: stats.taken,
            handled: stats.handled,
            taken_per_s: self.rate(|stats| stats.taken),
            handled_per_s: self.rate(|stats| stats.handled),
            oldest_ms: context.stats.take_oldest_ms(),
            in_hand: stats.in_hand(),
            limited_by: limited_by(
                context.breaker.is_closed() && !context.seat.as_ref().is_some_and(Seat::has_run_out),
                context.seat.as_ref().is_some_and(Seat::is_limiting),
                stats.in_hand(),
            ),
            paused: context.obeys_pause(),
        }
    }

    fn rate(&self, count: impl Fn(&StatsSnapshot) -> u64) -> Option<f64> {
        let ((begin, before), (end, now)) = (self.looks.front()?, self.looks.back()?);
        let seconds = (*end - *begin).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "what a few seconds bring is far below 2^53")]
        let events = count(now).saturating_sub(count(before)) as f64;
        (seconds > 0.0).then(|| events / seconds)
    }
}

fn limited_by(database_answers: bool, budget_limits: bool, in_hand: u64) -> LimitedBy {
    match (database_answers, budget_limits, in_hand) {
        (false, ..) => LimitedBy::Database,
        (true, true, _) => LimitedBy::Budget,
        (true, false, 0) => LimitedBy::Idle,
        (true, false, _) => LimitedBy::Busy,
    }
}
