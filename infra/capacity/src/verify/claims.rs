//! What a journal claims, in a few bytes for each attempt.

use std::path::Path;

use model::OrderId;
use uuid::Uuid;

use crate::journal::{Entry, JournalError, read};

/// Numbers of one run: 4 billion, far above what a machine sends in a week.
const MOST: u64 = 1 << 32;

/// What is known of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fate {
    /// The journal has no line of it.
    #[default]
    Unwritten,
    /// It was sent, or was about to be, and its outcome is not known.
    Unknown,
    /// Answered 202.
    Accepted,
    /// Answered with a refusal that means "not taken".
    Refused,
    /// Not sent.
    NotSent,
    /// Page events, which are counted together.
    Events,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Claim {
    pub(super) fate: Fate,
    /// Of an accepted order; nil where the answer named none.
    pub(super) id: Uuid,
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// That of this attempt, sent or not.
    Attempt(u64),
    /// One of this run that it had not even reserved.
    Nobody,
    /// Not of this run.
    Others,
}

/// Why a journal can't be judged.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// It can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It does not begin with its run.
    #[error("the journal does not begin with its run: this is not what `--journal` wrote")]
    NoRun,
    /// An attempt beyond what was reserved.
    #[error("the journal has the attempt {0}, which it had not reserved: it was not written by one generator")]
    Unreserved(u64),
}

/// A journal, read.
#[derive(Debug, Default)]
pub struct Claims {
    run: String,
    /// Attempts below it may have been sent although no line says so; 0 once the generator ended by itself.
    reserved: u64,
    ended: bool,
    by_number: Vec<Claim>,
    /// Keys that were answered with two different ids.
    pub(super) split_keys: u64,
    /// Page events answered 2xx.
    pub(super) events_accepted: u64,
    /// Page events whose outcome is not known.
    pub(super) events_unknown: u64,
    any_events: bool,
}

impl Claims {
    /// Reads a journal.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn read(path: &Path) -> Result<Self, ClaimsError> {
        Self::of(read(path)?)
    }

    pub(super) fn of(entries: impl IntoIterator<Item = Result<Entry, JournalError>>) -> Result<Self, ClaimsError> {
        let mut claims = Self::default();
        // Events of requests that are not answered yet, by number: as many as there were connections.
        let mut open = std::collections::HashMap::new();
        for entry in entries {
            let entry = entry?;
            if claims.run.is_empty() && !matches!(entry, Entry::Run { .. }) {
                return Err(ClaimsError::NoRun);
            }
            match entry {
                Entry::Run { run, .. } => claims.run = run,
                Entry::Reserved { to } => claims.reserved = to,
                Entry::Ended => claims.ended = true,
                Entry::Attempt(attempt) => claims.at(attempt.n)?.fate = Fate::Unknown,
                Entry::Events { n, count, .. } => {
                    claims.at(n)?.fate = Fate::Events;
                    claims.any_events = true;
                    open.insert(n, u64::from(count));
                }
                Entry::Answer { n, status, order_id, .. } => match open.remove(&n) {
                    Some(count) if status.is_some_and(|status| (200..300).contains(&status)) => {
                        claims.events_accepted += count;
                    }
                    Some(count) if is_unknown(status) => claims.events_unknown += count,
                    Some(_) => {}
                    None => claims.answer(n, status, order_id)?,
                },
                Entry::NotSent { n } => {
                    open.remove(&n);
                    claims.at(n)?.fate = Fate::NotSent;
                }
            }
        }
        claims.events_unknown += open.values().sum::<u64>();
        if claims.run.is_empty() { Err(ClaimsError::NoRun) } else { Ok(claims) }
    }

    /// The run's name.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Whether the generator ended by itself, and every attempt has its line.
    pub fn is_complete(&self) -> bool {
        self.ended
    }

    pub(super) fn sent_events(&self) -> bool {
        self.any_events
    }

    pub(super) fn all(&self) -> &[Claim] {
        &self.by_number
    }

    /// Whose key this is.
    pub(super) fn owner(&self, key: &str) -> Owner {
        let Some(number) = key.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')) else {
            return Owner::Others;
        };
        // "07" is not the key of attempt 7.
        match number.parse::<u64>() {
            Ok(n) if n < self.reserved && n.to_string() == number => Owner::Attempt(n),
            _ => Owner::Nobody,
        }
    }

    /// What is known of attempt `n`.
    pub(super) fn fate(&self, n: u64) -> Claim {
        let written = usize::try_from(n).ok().and_then(|n| self.by_number.get(n)).copied().unwrap_or_default();
        // A generator that was killed may have sent what it did not come to write.
        let fate = if written.fate == Fate::Unwritten && !self.ended { Fate::Unknown } else { written.fate };
        Claim { fate, ..written }
    }

    fn at(&mut self, n: u64) -> Result<&mut Claim, ClaimsError> {
        if n >= self.reserved || n >= MOST {
            return Err(ClaimsError::Unreserved(n));
        }
        let index = usize::try_from(n).map_err(|_| ClaimsError::Unreserved(n))?;
        if self.by_number.len() <= index {
            self.by_number.resize(index + 1, Claim::default());
        }
        Ok(&mut self.by_number[index])
    }

    fn answer(&mut self, n: u64, status: Option<u16>, order_id: Option<OrderId>) -> Result<(), ClaimsError> {
        let claim = self.at(n)?;
        if status != Some(202) {
            let known = !is_unknown(status);
            claim.fate = if known { Fate::Refused } else { Fate::Unknown };
            return Ok(());
        }
        let id = order_id.map(OrderId::as_uuid).unwrap_or_default();
        let split = claim.fate == Fate::Accepted && claim.id != id;
        *claim = Claim { fate: Fate::Accepted, id };
        self.split_keys += u64::from(split);
        Ok(())
    }
}

/// No answer, or one that says that the outcome is not known.
fn is_unknown(status: Option<u16>) -> bool {
    status.is_none_or(|status| status >= 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(lines: &[&str]) -> Result<Claims, ClaimsError> {
        let begin = [r#"{"entry":"run","run":"load-a","seed":1}"#, r#"{"entry":"reserved","to":100}"#];
        Claims::of(begin.iter().chain(lines).map(|line| Ok(serde_json::from_str(line).unwrap())))
    }

    const ATTEMPT: &str = r#"{"entry":"attempt","n":0,"key":"load-a-0","sku":"MUG","quantity":1}"#;

    fn answer(status: &str) -> String {
        format!(r#"{{"entry":"answer","n":0,"status":{status},"order_id":null,"latency_us":1}}"#)
    }

    #[test]
    fn an_outcome_is_known_only_where_an_answer_says_so() {
        for (status, fate) in [
            ("202", Fate::Accepted),
            ("401", Fate::Refused),
            ("422", Fate::Refused),
            ("503", Fate::Unknown),
            ("null", Fate::Unknown),
        ] {
            assert_eq!(claims(&[ATTEMPT, &answer(status)]).unwrap().fate(0).fate, fate, "{status}");
        }
        assert_eq!(claims(&[ATTEMPT]).unwrap().fate(0).fate, Fate::Unknown);
    }

    #[test]
    fn what_a_killed_generator_did_not_write_is_unknown_and_after_an_end_it_was_never_sent() {
        assert_eq!(claims(&[ATTEMPT]).unwrap().fate(50).fate, Fate::Unknown);
        assert_eq!(claims(&[ATTEMPT, r#"{"entry":"ended"}"#]).unwrap().fate(50).fate, Fate::Unwritten);
    }

    #[test]
    fn keys_are_told_from_those_of_others() {
        let claims = claims(&[ATTEMPT]).unwrap();
        assert_eq!(claims.owner("load-a-7"), Owner::Attempt(7));
        assert_eq!(claims.owner("load-a-100"), Owner::Nobody, "beyond what was reserved");
        assert_eq!(claims.owner("load-a-07"), Owner::Nobody);
        assert_eq!(claims.owner("load-ab-7"), Owner::Others);
        assert_eq!(claims.owner("mine"), Owner::Others);
    }

    #[test]
    fn events_are_summed_up_by_what_was_answered() {
        let events = |n: u32| format!(r#"{{"entry":"events","n":{n},"ids":"load-a-{n}","count":10}}"#);
        let ok = answer("200");
        let lost = answer("503").replace("\"n\":0", "\"n\":1");
        let claims = claims(&[&events(0), &ok, &events(1), &lost, &events(2)]).unwrap();
        assert_eq!((claims.events_accepted, claims.events_unknown), (10, 20));
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused() {
        assert!(matches!(Claims::of([]), Err(ClaimsError::NoRun)));
        assert!(matches!(Claims::of([Ok(Entry::Reserved { to: 1 })]), Err(ClaimsError::NoRun)));
        let beyond = claims(&[&ATTEMPT.replace("\"n\":0", "\"n\":100")]);
        assert!(matches!(beyond, Err(ClaimsError::Unreserved(100))));
    }
}
