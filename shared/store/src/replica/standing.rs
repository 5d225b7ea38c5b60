//! What is known of a replica.

use std::time::Duration;

use tokio::time::Instant;

use super::position::Position;

/// What is known of a replica now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaState {
    /// Nobody has looked yet.
    Unknown,
    /// It may be read.
    Ready,
    /// It answers, and its data are older than the limit, or of an age that is not known.
    Behind,
    /// It does not answer.
    Away,
    /// It takes writes: it is no replica any more.
    Promoted,
    /// It follows another server, or another history of this one.
    Foreign,
}

impl ReplicaState {
    /// Every state's name, in the order of the variants.
    pub const NAMES: [&str; 6] = ["unknown", "ready", "behind", "away", "promoted", "foreign"];

    /// Its name, as metrics have it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What the last look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Unknown,
    Following,
    /// It followed, and a read found no way to it since.
    Doubted,
    Away,
    Promoted,
    Foreign,
}

impl Standing {
    /// Whether a read that is under way there may still be answered with what it was asked for.
    pub(super) fn may_answer(self) -> bool {
        matches!(self, Self::Unknown | Self::Following | Self::Doubted)
    }
}

/// What readers go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) standing: Standing,
    /// It only grows while the replica follows.
    pub(super) replayed: Option<Position>,
    /// Everything that was committed by then is there.
    pub(super) fresh_as_of: Option<Instant>,
    pub(super) bytes_behind: Option<u64>,
}

impl Health {
    pub(super) const UNKNOWN: Self =
        Self { standing: Standing::Unknown, replayed: None, fresh_as_of: None, bytes_behind: None };

    pub(super) fn lag(&self, now: Instant) -> Option<Duration> {
        self.fresh_as_of.map(|time| now.saturating_duration_since(time))
    }

    pub(super) fn state(&self, now: Instant, max_lag: Duration) -> ReplicaState {
        match self.standing {
            Standing::Unknown => ReplicaState::Unknown,
            Standing::Following if self.lag(now).is_some_and(|lag| lag <= max_lag) => ReplicaState::Ready,
            Standing::Following => ReplicaState::Behind,
            Standing::Doubted | Standing::Away => ReplicaState::Away,
            Standing::Promoted => ReplicaState::Promoted,
            Standing::Foreign => ReplicaState::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_get_older_though_nobody_looks() {
        let start = Instant::now();
        let limit = Duration::from_secs(5);
        let health = Health { standing: Standing::Following, fresh_as_of: Some(start), ..Health::UNKNOWN };
        assert_eq!(health.state(start + limit, limit), ReplicaState::Ready);
        assert_eq!(health.state(start + limit + Duration::from_millis(1), limit), ReplicaState::Behind);
        let never = Health { fresh_as_of: None, ..health };
        assert_eq!(never.state(start, limit), ReplicaState::Behind, "of no known age");
    }

    #[test]
    fn what_does_not_follow_is_not_read_however_fresh_it_was() {
        let now = Instant::now();
        for (standing, name) in
            [(Standing::Away, "away"), (Standing::Promoted, "promoted"), (Standing::Foreign, "foreign")]
        {
            let health = Health { standing, fresh_as_of: Some(now), ..Health::UNKNOWN };
            assert_eq!(health.state(now, Duration::from_secs(5)).name(), name);
            assert!(!standing.may_answer());
        }
    }
}
