//! What a journal claims, in a few bytes for each attempt.

use std::collections::HashMap;
use std::path::Path;

use model::OrderId;
use uuid::Uuid;

use crate::journal::{Attempt, Entry, JournalError, read};

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
    /// Answered 202; page events with any 2xx.
    Accepted,
    /// Answered with a refusal that means "not taken".
    Refused,
    /// Not sent.
    NotSent,
}

/// What an attempt asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Asked {
    /// The journal does not say.
    #[default]
    Unwritten,
    /// An order of this position among the goods of the journal.
    Order(u32),
    /// So many page events.
    Events(u32),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Claim {
    pub(super) fate: Fate,
    /// Of an accepted order; nil where the answer named none.
    pub(super) id: Uuid,
    pub(super) asked: Asked,
}

impl Claim {
    /// Whether it is no request of page events.
    pub(super) fn is_order(&self) -> bool {
        !matches!(self.asked, Asked::Events(_))
    }
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
    /// Every SKU with every quantity that was asked for, once.
    goods: Vec<(String, u32)>,
    /// Keys that were answered with two different ids.
    pub(super) split_keys: u64,
    /// Page events answered 2xx.
    pub(super) events_accepted: u64,
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
        let mut known = HashMap::new();
        for entry in entries {
            let entry = entry?;
            if claims.run.is_empty() && !matches!(entry, Entry::Run { .. }) {
                return Err(ClaimsError::NoRun);
            }
            match entry {
                Entry::Run { run, .. } => claims.run = run,
                Entry::Reserved { to } => claims.reserved = to,
                Entry::Ended => claims.ended = true,
                Entry::Attempt(Attempt { n, sku, quantity, .. }) => {
                    let asked = claims.goods_at(&mut known, sku, quantity);
                    claims.sent(n, asked)?;
                }
                Entry::Events { n, count, .. } => claims.sent(n, Asked::Events(count))?,
                Entry::Answer { n, status, order_id, .. } => claims.answer(n, status, order_id)?,
                // Only what is sent is reserved, and a full room turns away far beyond it.
                Entry::NotSent { n } => claims.slot(n)?.fate = Fate::NotSent,
            }
        }
        claims.events_accepted = claims.accepted_events().map(|(_, count)| u64::from(count)).sum();
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
        !self.by_number.iter().all(Claim::is_order)
    }

    /// The requests of page events that were answered 2xx: their position, and how many events each had.
    pub(super) fn accepted_events(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.by_number.iter().enumerate().filter_map(|(n, claim)| match (claim.fate, claim.asked) {
            (Fate::Accepted, Asked::Events(count)) => Some((n, count)),
            _ => None,
        })
    }

    /// The SKU and the quantity that an attempt asked for, where the journal says so.
    pub(super) fn goods(&self, claim: Claim) -> Option<(&str, u32)> {
        let Asked::Order(position) = claim.asked else { return None };
        let (sku, quantity) = self.goods.get(usize::try_from(position).ok()?)?;
        Some((sku, *quantity))
    }

    pub(super) fn all(&self) -> &[Claim] {
        &self.by_number
    }

    /// Whose key this is.
    pub(super) fn owner(&self, key: &str) -> Owner {
        let Some(number) = key.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')) else {
            return Owner::Others;
        };
        match written_number(number) {
            Some(n) if n < self.reserved => Owner::Attempt(n),
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
        if n < self.reserved { self.slot(n) } else { Err(ClaimsError::Unreserved(n)) }
    }

    fn slot(&mut self, n: u64) -> Result<&mut Claim, ClaimsError> {
        if n >= MOST {
            return Err(ClaimsError::Unreserved(n));
        }
        let index = usize::try_from(n).map_err(|_| ClaimsError::Unreserved(n))?;
        if self.by_number.len() <= index {
            self.by_number.resize(index + 1, Claim::default());
        }
        Ok(&mut self.by_number[index])
    }

    fn sent(&mut self, n: u64, asked: Asked) -> Result<(), ClaimsError> {
        let claim = self.at(n)?;
        (claim.fate, claim.asked) = (Fate::Unknown, asked);
        Ok(())
    }

    /// Keeps goods once, however many attempts ask for them.
    fn goods_at(&mut self, known: &mut HashMap<(String, u32), Asked>, sku: String, quantity: u32) -> Asked {
        *known.entry((sku, quantity)).or_insert_with_key(|goods| {
            let position = u32::try_from(self.goods.len()).map_or(Asked::Unwritten, Asked::Order);
            self.goods.push(goods.clone());
            position
        })
    }

    fn answer(&mut self, n: u64, status: Option<u16>, order_id: Option<OrderId>) -> Result<(), ClaimsError> {
        let claim = self.at(n)?;
        let accepts = if claim.is_order() { 202..203 } else { 200..300 };
        if !status.is_some_and(|status| accepts.contains(&status)) {
            claim.fate = if is_unknown(status) { Fate::Unknown } else { Fate::Refused };
            return Ok(());
        }
        let id = order_id.map(OrderId::as_uuid).unwrap_or_default();
        let split = claim.fate == Fate::Accepted && claim.id != id;
        *claim = Claim { fate: Fate::Accepted, id, ..*claim };
        self.split_keys += u64::from(split);
        Ok(())
    }
}

/// No answer, or one that says that the outcome is not known.
fn is_unknown(status: Option<u16>) -> bool {
    status.is_none_or(|status| status >= 500)
}

/// A number as the generator writes it: "07" is not the key of attempt 7.
pub(super) fn written_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
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
    fn page_events_have_the_fate_of_their_request() {
        let events = |n: u32| format!(r#"{{"entry":"events","n":{n},"ids":"load-a-{n}","count":10}}"#);
        let answer = |n: u32, status: &str| answer(status).replace("\"n\":0", &format!("\"n\":{n}"));
        let lines = [events(0), answer(0, "200"), events(1), answer(1, "503"), events(2), events(3), answer(3, "400")];
        let claims = claims(&lines.each_ref().map(String::as_str)).unwrap();
        let fates = [0, 1, 2, 3].map(|n| claims.fate(n).fate);
        assert_eq!(fates, [Fate::Accepted, Fate::Unknown, Fate::Unknown, Fate::Refused]);
        assert_eq!(claims.events_accepted, 10);
    }

    #[test]
    fn what_was_turned_away_needs_no_reservation() {
        let claims = claims(&[r#"{"entry":"not_sent","n":100}"#, r#"{"entry":"reserved","to":200}"#]).unwrap();
        assert_eq!(claims.fate(100).fate, Fate::NotSent, "and keeps its fate once its number is reserved");
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused() {
        assert!(matches!(Claims::of([]), Err(ClaimsError::NoRun)));
        assert!(matches!(Claims::of([Ok(Entry::Reserved { to: 1 })]), Err(ClaimsError::NoRun)));
        let beyond = claims(&[&ATTEMPT.replace("\"n\":0", "\"n\":100")]);
        assert!(matches!(beyond, Err(ClaimsError::Unreserved(100))));
    }
}
