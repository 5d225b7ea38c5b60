//! The handler of one parked queue: messages into rows, in one transaction a batch.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use broker::QueueName;
use events::DecodeError;
use model::Message;
use sea_orm::{ConnectionTrait as _, DbErr, Value};
use service::metrics::Counter;
use store::{Backend, Database, Fault, Transaction, bind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::arrival::{Arrival, fold, rounds};

const COLUMNS: &str = "queue, message_id, own_id, digest, kind, reason, reason_key, content_type, headers, body, \
                       published_at, times, replays";
const COLUMN_COUNT: usize = 13;

/// Keeps what is parked of one home queue.
pub(crate) struct Parking {
    pub(crate) database: Arc<Database>,
    /// Where the messages come from; rows are kept under its name.
    pub(crate) home: QueueName,
    pub(crate) parked: Counter,
}

impl Handler for Parking {
    type Event = Arrival;

    /// Anything can be parked: this is where it ends.
    fn decode(&self, message: &Message) -> Result<Arrival, DecodeError> {
        Ok(Arrival::of(&self.home, message))
    }

    async fn handle(&self, batch: &[Item<Arrival>]) -> Result<Handled, BatchError> {
        let mut arrivals = fold(batch);
        let mut stored = self.store(&arrivals).await;
        // Alone it is the culprit. There is no queue behind this one, so it is stored without what the database refused.
        if arrivals.len() == 1 && matches!(stored.as_ref().map_err(Fault::classify), Err(Fault::Poison(_))) {
            arrivals = arrivals.into_iter().map(Arrival::bare).collect();
            stored = self.store(&arrivals).await;
        }
        let commit = stored.map_err(|error| match Fault::classify(&error) {
            // More than one: the loop looks for the culprit. The bare one too: held, as nothing else is left to do.
            Fault::Poison(reason) if batch.len() > 1 => BatchError::Poison(reason),
            Fault::Contention(reason) => BatchError::Contention(reason),
            Fault::Poison(reason) | Fault::Infrastructure(reason) => BatchError::Infrastructure(reason),
        })?;
        self.parked.inc_by(batch.len() as u64);
        if self.home == QueueName::unrouted() {
            tracing::error!(
                messages = batch.len(),
                "messages reached no queue, and are parked: a binding is missing, or a queue was deleted. Restart a role \
                 that declares it, then `millpond parked replay --queue {}`",
                self.home
            );
        }
        Ok(Handled { verdicts: vec![Verdict::Done; batch.len()], rows: arrivals.len() as u64, commit: Some(commit) })
    }

    async fn probe(&self) -> Result<(), String> {
        self.database.probe().await.map_err(|error| error.to_string())
    }
}

impl Parking {
    /// How long the commit took.
    async fn store(&self, arrivals: &[Arrival]) -> Result<Duration, DbErr> {
        let tx = self.database.begin().await?;
        let mut taken = Vec::new();
        for round in rounds(arrivals.to_vec()) {
            let stored = self.insert(&tx, &round).await?;
            taken.extend(round.into_iter().filter(|arrival| !stored.contains(&arrival.key)));
        }
        // Another message of this queue has the same id: this one is kept beside it.
        for arrival in &mut taken {
            arrival.key = arrival.derived_key();
        }
        taken.sort_by(|a, b| a.key.cmp(&b.key));
        let beside = self.insert(&tx, &taken).await?;
        if let Some(lost) = taken.iter().find(|arrival| !beside.contains(&arrival.key)) {
            return Err(DbErr::Custom(format!("a third message has the key {}", lost.key)));
        }
        let begun = Instant::now();
        if failpoint::broken!(ParkerAcksFirst) {
            commit_later(tx);
        } else {
            tx.commit().await?;
        }
        Ok(begun.elapsed())
    }

    /// Inserts rows or counts them up; the keys of those that were. A row of another message is left alone.
    ///
    /// A copy of an earlier replay says nothing new: a later one is on its way, or has ended. So it does not reopen its row,
    /// which is what makes a redelivered parked message harmless. Nor does a copy of what an operator discarded.
    async fn insert(&self, tx: &Transaction, arrivals: &[Arrival]) -> Result<HashSet<String>, DbErr> {
        if arrivals.is_empty() {
            return Ok(HashSet::new());
        }
        let now = self.database.backend().now_sql();
        let stays = "CASE parked_messages.state
            WHEN 'replaying' THEN parked_messages.claimed_until IS NULL OR excluded.replays < parked_messages.replays
            WHEN 'replayed' THEN excluded.replays < parked_messages.replays
            WHEN 'closed' THEN excluded.replays < parked_messages.replays
            WHEN 'discarded' THEN excluded.replays <= parked_messages.replays
            ELSE false END";
        let conflict = format!(
            "ON CONFLICT (queue, message_id) DO UPDATE SET
                times = parked_messages.times + excluded.times, last_parked_at = {now},
                reason = excluded.reason, reason_key = excluded.reason_key, headers = excluded.headers,
                checked_at = NULL,
                state = CASE WHEN {stays} THEN parked_messages.state ELSE 'open' END,
                ended_at = CASE WHEN {stays} THEN parked_messages.ended_at END,
                note = CASE WHEN {stays} THEN parked_messages.note END
             WHERE parked_messages.digest = excluded.digest
             RETURNING message_id"
        );
        let mut keys = HashSet::new();
        match self.database.backend() {
            Backend::Postgres => {
                let sql = format!(
                    "INSERT INTO parked_messages ({COLUMNS}) SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], \
                     $4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[], $10::bytea[], \
                     $11::timestamptz[], $12::int[], $13::int[]) {conflict}"
                );
                for row in tx.query_all_raw(self.database.statement(sql, self.arrays(arrivals))).await? {
                    keys.insert(row.try_get("", "message_id")?);
                }
            }
            Backend::Sqlite => {
                for cut in bind::sqlite_cuts(arrivals.len(), COLUMN_COUNT) {
                    let values = bind::values_sql(cut.len(), COLUMN_COUNT);
                    let sql = format!("INSERT INTO parked_messages ({COLUMNS}) VALUES {values} {conflict}");
                    let binds = arrivals[cut].iter().flat_map(|arrival| self.binds(arrival));
                    for row in tx.query_all_raw(self.database.statement(sql, binds)).await? {
                        keys.insert(row.try_get("", "message_id")?);
                    }
                }
            }
        }
        Ok(keys)
    }

    fn binds(&self, arrival: &Arrival) -> [Value; COLUMN_COUNT] {
        [
            self.home.as_str().into(),
            arrival.key.clone().into(),
            arrival.message.id.as_str().into(),
            arrival.digest.to_vec().into(),
            arrival.kind.clone().into(),
            arrival.reason.clone().into(),
            arrival.reason_key.clone().into(),
            arrival.message.content_type.clone().into(),
            headers(arrival).into(),
            arrival.message.body.to_vec().into(),
            arrival.published_at.into(),
            arrival.times.into(),
            arrival.replay.into(),
        ]
    }

    fn arrays(&self, arrivals: &[Arrival]) -> [Value; COLUMN_COUNT] {
        let texts = |text: fn(&Arrival) -> &str| bind::texts(arrivals.iter().map(|arrival| text(arrival).to_owned()));
        [
            bind::texts(arrivals.iter().map(|_| self.home.to_string())),
            texts(|arrival| &arrival.key),
            texts(|arrival| arrival.message.id.as_str()),
            bind::bytes(arrivals.iter().map(|arrival| arrival.digest.to_vec())),
            texts(|arrival| &arrival.kind),
            texts(|arrival| &arrival.reason),
            texts(|arrival| &arrival.reason_key),
            texts(|arrival| &arrival.message.content_type),
            bind::jsons(arrivals.iter().map(headers)),
            bind::bytes(arrivals.iter().map(|arrival| arrival.message.body.to_vec())),
            bind::times(arrivals.iter().map(|arrival| arrival.published_at)),
            bind::ints(arrivals.iter().map(|arrival| arrival.times)),
            bind::ints(arrivals.iter().map(|arrival| arrival.replay)),
        ]
    }
}

/// What [`failpoint::Point::ParkerAcksFirst`] does.
fn commit_later(tx: Transaction) {
    let mut late = JoinSet::new();
    late.spawn(async move {
        sleep(Duration::from_mins(1)).await;
        tx.commit().await
    });
    late.detach_all();
}

fn headers(arrival: &Arrival) -> serde_json::Value {
    arrival.message.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}
