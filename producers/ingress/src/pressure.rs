//! Looks at the queues that the ingress feeds and at what their workers say, and turns the valves.
//!
//! The path of a request waits for none of it: it reads a [`Valve`]. What could not be found out is unknown, and an unknown
//! value shuts no valve; alarms and what is in flight are looked at by each request itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::announce::HEARTBEATS;
use broker::{Broker, BrokerState, Depth, Listener, QueueName};
use flow::{Beat, Class, Decision, Drain, Load, Policy, Reason, Roster, Trend, come_back_after};
use futures::future::join;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::meters::LaneView;
use crate::overload::OverloadConfig;
use crate::run::Shared;
use crate::valve::Valve;

/// How long a queue's length is looked back on.
const TREND: Duration = Duration::from_secs(15);
/// Workers that are remembered; a shop with more of them learns less about some.
const WORKERS: usize = 1_024;
/// How many looks a call for depths may take until they are unknown.
const LOOKS: u32 = 3;

/// A queue that the ingress feeds.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) class: Class,
    pub(crate) queue: QueueName,
    pub(crate) valve: Arc<Valve>,
    decision: Decision,
    trend: Trend,
    ready: Option<u64>,
}

impl Lane {
    pub(crate) fn new(class: Class, queue: QueueName, valve: Arc<Valve>) -> Self {
        Self { class, queue, valve, decision: Decision::Take, trend: Trend::new(TREND), ready: None }
    }

    /// What waits, in the estimate that the mean size of what was published gives.
    fn waiting_bytes(&self, shared: &Shared) -> Option<u64> {
        Some(self.ready?.saturating_mul(shared.gate(self.class).mean.bytes()?))
    }
}

/// What is known of all lanes.
pub(crate) struct Pressure {
    lanes: Vec<Lane>,
    policy: Policy,
    config: OverloadConfig,
    roster: Roster,
    /// Orders and events go to one server.
    one_broker: bool,
    /// For `/metrics`.
    shown: Arc<Mutex<Vec<LaneView>>>,
    start: Instant,
}

impl Pressure {
    pub(crate) fn new(
        lanes: Vec<Lane>,
        policy: Policy,
        config: OverloadConfig,
        one_broker: bool,
        shown: Arc<Mutex<Vec<LaneView>>>,
    ) -> Self {
        let roster = Roster::new(Duration::from_millis(config.heartbeat_expires_ms), WORKERS);
        Self { lanes, policy, config, roster, one_broker, shown, start: Instant::now() }
    }

    /// Looks until it is dropped.
    pub(crate) async fn follow(&mut self, shared: &Shared) -> std::convert::Infallible {
        let mut look = interval(Duration::from_millis(self.config.look_ms));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut orders = Some(shared.orders.listen(HEARTBEATS));
        let mut events = (!self.one_broker).then(|| shared.events.listen(HEARTBEATS));
        loop {
            tokio::select! {
                // First: what was heard meanwhile counts for this look.
                biased;
                beat = next(&mut orders) => self.hear(&beat),
                beat = next(&mut events) => self.hear(&beat),
                _ = look.tick() => self.look(shared).await,
            }
        }
    }

    fn hear(&mut self, beat: &[u8]) {
        if let Some(beat) = Beat::from_bytes(beat) {
            self.roster.heard(self.start.elapsed(), beat);
        }
    }

    async fn look(&mut self, shared: &Shared) {
        let limit = Duration::from_millis(self.config.look_ms) * LOOKS;
        let queues = |orders: bool| -> Vec<QueueName> {
            let of_it = self.lanes.iter().filter(|lane| (lane.class == Class::Orders) == orders);
            of_it.map(|lane| lane.queue.clone()).collect()
        };
        let (orders, events) = (queues(true), queues(false));
        let (orders, events) =
            join(depths(&*shared.orders, &orders, limit), depths(&*shared.events, &events, limit)).await;
        let known: Vec<Depth> = [orders, events].into_iter().flatten().flatten().collect();
        let now = self.start.elapsed();
        for lane in &mut self.lanes {
            lane.ready = known.iter().find(|depth| depth.queue == lane.queue).map(|depth| depth.ready);
            match lane.ready {
                Some(ready) => lane.trend.record(now, ready),
                None => lane.trend.forget(),
            }
        }
        self.decide(shared, now);
    }

    fn decide(&mut self, shared: &Shared, now: Duration) {
        let held_bytes = shared.orders_gate.held_bytes() + shared.events_gate.held_bytes();
        // Events count all that their broker holds, so that they make room for orders. Orders count their own alone: anyone
        // may post events, and no order is shed for them; what they take of the broker is bounded by their own limit.
        let of_broker = |class: Class| {
            let all = self.one_broker && class == Class::Events;
            let lanes = self.lanes.iter().filter(|lane| all || lane.class == class);
            lanes.filter_map(|lane| lane.waiting_bytes(shared)).reduce(u64::saturating_add)
        };
        let waiting = Class::ALL.map(of_broker);
        let mut shown = Vec::with_capacity(self.lanes.len());
        for lane in &mut self.lanes {
            let seen = self.roster.of_queue(now, lane.queue.as_str());
            let load = Load {
                alarm: shared.gate(lane.class).broker_state() == BrokerState::Blocked,
                held_bytes,
                waiting_bytes: waiting[lane.class as usize],
                oldest: seen.oldest,
            };
            let decision = self.policy.decide(lane.class, &load, lane.decision);
            tell(lane, decision);
            lane.decision = decision;
            let drain = lane.trend.drain();
            lane.valve.set_wait_s(lane.ready.and_then(|ready| seen.wait(ready)).and_then(whole_seconds));
            lane.valve.set(match decision {
                Decision::Take => None,
                Decision::Shed(reason) => Some((reason, self.config.seconds(drain))),
            });
            shown.push(LaneView {
                class: lane.class,
                queue: lane.queue.as_str().to_owned(),
                waiting_bytes: lane.waiting_bytes(shared),
                oldest: seen.oldest,
                workers: seen.workers,
                drain: if let Drain::In(time) = drain { Some(time) } else { None },
                shedding: decision != Decision::Take,
            });
        }
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

impl OverloadConfig {
    fn seconds(&self, drain: Drain) -> u32 {
        come_back_after(drain, self.retry_after_s, self.max_retry_after_s)
    }
}

/// As it is told to a shopper: rounded up; what is not over today is not told.
fn whole_seconds(wait: Duration) -> Option<u32> {
    const LONGEST: Duration = Duration::from_hours(24);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).ok().filter(|_| wait <= LONGEST)
}

/// Says once that a class is shed, and once that it is not any more.
fn tell(lane: &Lane, decision: Decision) {
    let class = lane.class.name();
    match (lane.decision, decision) {
        (Decision::Take, Decision::Shed(reason)) => {
            let why = words(reason);
            tracing::warn!(queue = %lane.queue, class, "{class} are not taken any more: {why}");
        }
        (Decision::Shed(_), Decision::Take) => tracing::info!(queue = %lane.queue, class, "{class} are taken again"),
        _ => {}
    }
}

/// Why, in words that follow a colon.
pub(crate) fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Alarm => "the queue takes nothing because of a resource alarm",
        Reason::HeldBytes => "this process holds as much as it may",
        Reason::WaitingBytes => "as much waits in the queue as may",
        Reason::Age => "what waits in the queue is older than is worth adding to",
    }
}

/// The next heartbeat; never, where nobody is listened to.
async fn next(listener: &mut Option<Listener>) -> bytes::Bytes {
    if let Some(heard) = listener.as_mut() {
        match heard.next().await {
            Some(beat) => return beat,
            // The broker was closed by this process, which is about to end.
            None => *listener = None,
        }
    }
    std::future::pending().await
}

/// The depths, where the broker tells them in time.
async fn depths(broker: &dyn Broker, queues: &[QueueName], limit: Duration) -> Option<Vec<Depth>> {
    match timeout(limit, broker.depths(queues)).await {
        Ok(Ok(depths)) => Some(depths),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the depths of the queues are not known");
            None
        }
        Err(_elapsed) => None,
    }
}
