//! The task that looks at a replica.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::lag::Marks;
use super::position::Position;
use super::standing::{Health, ReplicaState, Standing};
use super::{Replica, internal};

/// What the primary says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Primary {
    position: Position,
    timeline: i32,
    system: i64,
}

/// What a replica says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standby {
    in_recovery: bool,
    replayed: Option<Position>,
    timeline: Option<i32>,
    system: i64,
}

/// The primary as it was last seen, and its marks.
#[derive(Debug, Default)]
struct Known {
    primary: Option<Primary>,
    marks: Marks,
}

impl Replica {
    /// Looks at the replica and its primary every `look_ms` until `stop`. One such task at a
    /// time; without it the replica's state is unknown and it is not read.
    pub async fn watch(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut known = Known::default();
        let mut said = ReplicaState::Unknown;
        let mut every = interval(self.config.look());
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = async {
                    every.tick().await;
                    let why = self.look(&mut known).await;
                    said = self.say(said, &why);
                } => {}
            }
        }
    }

    /// One look; in words what keeps the replica from following.
    async fn look(&self, known: &mut Known) -> String {
        let limit = self.config.look_timeout();
        let asked = Instant::now();
        match timeout(limit, ask_primary(&self.primary)).await {
            Ok(Ok(primary)) => known.note(asked, primary),
            // Of the primary's own state others tell. Here it means that the marks, and so the replica's data, get older.
            Ok(Err(error)) => tracing::debug!(store.database = self.database, %error, "no position of the primary"),
            Err(_) => tracing::debug!(store.database = self.database, "no position of the primary in time"),
        }
        let answer = match timeout(limit, ask_standby(&self.look)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        };
        let (mut health, mut why) = known.judge(answer);
        let untried = self.health.borrow().standing != Standing::Following;
        if untried
            && health.standing == Standing::Following
            && let Err(error) = self.try_reading().await
        {
            health = Health { standing: Standing::Away, ..Health::UNKNOWN };
            why = format!("readers get no connection: {error}");
        }
        self.health.send_modify(|now| {
            // A read that failed since was not looked into yet.
            if !untried && now.standing == Standing::Doubted && health.standing == Standing::Following {
                health.standing = Standing::Doubted;
            }
            *now = health;
        });
        why
    }

    /// As a reader does, so that none has to find out.
    async fn try_reading(&self) -> Result<(), DbErr> {
        let select = Statement::from_string(DbBackend::Postgres, "SELECT 1");
        let tried = self.ask_in_turn(select, |connection, statement| connection.query_one_raw(statement));
        let limit = self.config.look_timeout();
        timeout(limit, tried).await.map_err(|_| internal("no answer in time"))?.map(drop)
    }

    /// Says what changed, once; what was said last.
    fn say(&self, said: ReplicaState, why: &str) -> ReplicaState {
        let state = self.state();
        if state == said {
            return said;
        }
        let (database, replica) = (self.database.as_str(), self.name.as_str());
        match state {
            ReplicaState::Unknown => {}
            ReplicaState::Ready => {
                tracing::info!(store.database = database, store.replica = replica, "the replica is read");
            }
            ReplicaState::Behind => tracing::warn!(
                store.database = database,
                store.replica = replica,
                lag_ms = self.lag().map(|lag| lag.as_millis()),
                lag_bytes = self.lag_bytes(),
                limit_ms = self.config.max_lag_ms,
                "the replica is too far behind, or its primary does not say how far: it is not read"
            ),
            ReplicaState::Away => tracing::warn!(
                store.database = database,
                store.replica = replica,
                error = why,
                "the replica does not answer: it is not read"
            ),
            ReplicaState::Promoted => tracing::error!(
                store.database = database,
                store.replica = replica,
                "the replica takes writes, so it is none any more: it is not read. Point store.database.{database}.url at it if \
                 it is the primary now, and take it out of the replicas"
            ),
            ReplicaState::Foreign => tracing::error!(
                store.database = database,
                store.replica = replica,
                "the replica is not one of this primary ({why}): it is not read"
            ),
        }
        state
    }
}

impl Known {
    fn note(&mut self, asked: Instant, primary: Primary) {
        let same = |before: Primary| before.system == primary.system && before.timeline == primary.timeline;
        if !self.primary.is_some_and(same) {
            self.marks.forget();
        }
        self.primary = Some(primary);
        self.marks.note(asked, primary.position);
    }

    /// What the answer makes of the replica, and in words why it is not followed.
    fn judge(&mut self, answer: Result<Standby, String>) -> (Health, String) {
        let none = |standing: Standing, why: String| (Health { standing, ..Health::UNKNOWN }, why);
        let standby = match answer {
            Ok(standby) => standby,
            Err(why) => return none(Standing::Away, why),
        };
        if !standby.in_recovery {
            return none(Standing::Promoted, String::new());
        }
        // Not seen yet: then there is no mark either, and it is behind by an unknown time.
        if let Some(primary) = self.primary {
            if standby.system != primary.system {
                return none(Standing::Foreign, "it is of another cluster: its system identifier differs".to_owned());
            }
            if let Some(timeline) = standby.timeline.filter(|timeline| *timeline != primary.timeline) {
                let why = format!("it is on timeline {timeline}, the primary on {}", primary.timeline);
                return none(Standing::Foreign, why);
            }
        }
        let fresh_as_of = standby.replayed.and_then(|replayed| self.marks.fresh_as_of(replayed));
        let bytes_behind = standby.replayed.and_then(|replayed| self.marks.bytes_behind(replayed));
        let health = Health { standing: Standing::Following, replayed: standby.replayed, fresh_as_of, bytes_behind };
        (health, String::new())
    }
}

async fn ask_primary(connection: &DatabaseConnection) -> Result<Primary, DbErr> {
    // A standby refuses this: an address that leads to one gives no mark.
    let sql = format!(
        "SELECT {} AS position, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline, \
         (SELECT system_identifier FROM pg_control_system()) AS system",
        Position::sql("pg_current_wal_lsn()")
    );
    let row = only_row(connection, sql).await?;
    Ok(Primary {
        position: Position::read(&row, "position")?.ok_or_else(|| internal("a primary without a position"))?,
        timeline: row.try_get("", "timeline")?,
        system: row.try_get("", "system")?,
    })
}

async fn ask_standby(connection: &DatabaseConnection) -> Result<Standby, DbErr> {
    // What the receiver of the stream is at is shown to superusers and members of pg_read_all_stats. The control file says it
    // to everybody, up to a checkpoint later: after a failover the replica is taken again that much later.
    let sql = format!(
        "SELECT pg_is_in_recovery() AS in_recovery, {} AS replayed, \
         coalesce((SELECT received_tli FROM pg_stat_wal_receiver), greatest((SELECT timeline_id FROM pg_control_checkpoint()), \
         (SELECT min_recovery_end_timeline FROM pg_control_recovery()))) AS timeline, \
         (SELECT system_identifier FROM pg_control_system()) AS system",
        Position::sql("pg_last_wal_replay_lsn()")
    );
    let row = only_row(connection, sql).await?;
    Ok(Standby {
        in_recovery: row.try_get("", "in_recovery")?,
        replayed: Position::read(&row, "replayed")?,
        timeline: row.try_get("", "timeline")?,
        system: row.try_get("", "system")?,
    })
}

async fn only_row(connection: &DatabaseConnection, sql: String) -> Result<QueryResult, DbErr> {
    let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    row.ok_or_else(|| internal("an empty answer"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn primary(position: u64) -> Primary {
        Primary { position: Position::from(position), timeline: 1, system: 7 }
    }

    fn standby(replayed: u64) -> Standby {
        Standby { in_recovery: true, replayed: Some(Position::from(replayed)), timeline: Some(1), system: 7 }
    }

    #[test]
    fn a_replica_whose_primary_was_never_seen_is_of_no_known_age() {
        let (health, _) = Known::default().judge(Ok(standby(100)));
        assert_eq!(health.state(Instant::now(), Duration::MAX), ReplicaState::Behind);
    }

    #[test]
    fn marks_of_another_timeline_say_nothing_and_who_stays_on_the_old_one_is_foreign() {
        let start = Instant::now();
        let mut known = Known::default();
        known.note(start, primary(100));
        assert_eq!(known.judge(Ok(standby(100))).0.fresh_as_of, Some(start));
        let promoted = Primary { timeline: 2, ..primary(150) };
        known.note(start, promoted);
        let (health, why) = known.judge(Ok(standby(500)));
        assert_eq!(health.standing, Standing::Foreign, "further on than the new primary, on the old line");
        assert!(why.contains("timeline 1"), "{why}");
        let (health, _) = known.judge(Ok(Standby { timeline: Some(2), ..standby(120) }));
        assert_eq!((health.standing, health.fresh_as_of), (Standing::Following, None), "on its way to the first mark");
    }

    #[test]
    fn another_cluster_and_a_promoted_standby_are_refused_whatever_their_position() {
        let mut known = Known::default();
        known.note(Instant::now(), primary(100));
        assert_eq!(known.judge(Ok(Standby { system: 8, ..standby(100) })).0.standing, Standing::Foreign);
        assert_eq!(known.judge(Ok(Standby { in_recovery: false, ..standby(100) })).0.standing, Standing::Promoted);
    }
}
