//! A shop that changes one price all the time, and shoppers who look at it: what is shown may never be older than the published
//! bound, whatever is broken meanwhile. [`Shown`] judges.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use testkit::http::{Http, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::class::Class;
use crate::oracle::Shown;
use crate::world::{WATCHED, World};

/// Who shows it. The first takes the edits.
const STOREFRONTS: [&str; 2] = ["storefront", "storefront-2"];
/// Longer than a change waits for others (`invalidation.coalesce_ms`), and at another time of each second.
const EDIT_EVERY: Duration = Duration::from_millis(1_300);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// With Redis away: `cache.pages.away_trust_ms` and `grace_ms`; and `relay.idle_poll_ms` and `invalidation.coalesce_ms` for a change
/// whose purge had not come when Redis went.
const BOUND_WITHOUT_REDIS: Duration = Duration::from_secs(7);
/// With everything away in turn: `max_age_s` for a page whose purge never comes, and `stale_if_error_s` where the database is
/// away just then.
const BOUND_WITHOUT_ANYTHING: Duration = Duration::from_mins(2);

fn bound(classes: &[Class]) -> Duration {
    let redis = |class: &Class| matches!(class, Class::RedisKilled | Class::RedisFlushed | Class::RedisFrozen);
    if classes.iter().all(redis) { BOUND_WITHOUT_REDIS } else { BOUND_WITHOUT_ANYTHING }
}

/// The editor and the shoppers.
#[derive(Debug)]
pub(crate) struct Watch {
    tasks: JoinSet<()>,
    enough: CancellationToken,
    shown: Arc<Mutex<Shown>>,
}

impl Watch {
    /// Edits and looks until [`Self::end`], while these classes strike.
    ///
    /// # Errors
    /// Where the world has no storefront.
    pub(crate) async fn start(world: &World, classes: &[Class]) -> Result<Self> {
        let (enough, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let shown = Arc::new(Mutex::new(Shown::new(bound(classes))));
        let [edits, _] = STOREFRONTS;
        for name in STOREFRONTS {
            let url = format!("{}/v1/products/{WATCHED}", world.roles.url(name).await?);
            let counter = Counter { http: Http::new(), name, url, shown: Arc::clone(&shown) };
            if name == edits {
                tasks.spawn(counter.clone().edit(world.edit_key.clone(), enough.clone()));
            }
            tasks.spawn(counter.look(enough.clone()));
        }
        Ok(Self { tasks, enough, shown })
    }

    /// No more edits; what was shown.
    pub(crate) async fn end(self) -> Shown {
        self.enough.cancel();
        self.tasks.join_all().await;
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A storefront, from outside.
#[derive(Debug, Clone)]
struct Counter {
    http: Http,
    name: &'static str,
    url: String,
    shown: Arc<Mutex<Shown>>,
}

impl Counter {
    async fn edit(self, key: String, enough: CancellationToken) {
        let (mut again, mut minor) = (interval(EDIT_EVERY), 1_000);
        again.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/merge-patch+json")];
        while enough.run_until_cancelled(again.tick()).await.is_some() {
            minor += 1;
            let body = json!({"price": {"minor": minor, "currency": "EUR"}}).to_string();
            let answer = timeout(ANSWER_WITHIN, self.http.send(Method::PATCH, &self.url, &headers, body)).await;
            if let Some(version) = version(answer) {
                self.note(|shown| shown.edited(version, Instant::now()));
            }
        }
    }

    async fn look(self, enough: CancellationToken) {
        let mut again = interval(LOOK_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while enough.run_until_cancelled(again.tick()).await.is_some() {
            let asked = Instant::now();
            if let Some(version) = version(timeout(ANSWER_WITHIN, self.http.get(&self.url)).await) {
                self.note(|shown| shown.seen(version, asked, self.name));
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What an answer says, where there is one.
fn version<E>(answer: Result<Result<Response>, E>) -> Option<i64> {
    let answer = answer.ok()?.ok().filter(|answer| answer.status.is_success())?;
    answer.json().get("version").and_then(Value::as_i64)
}
