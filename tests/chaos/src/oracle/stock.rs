//! What the shop's own servers did to stock, held against what was asked for.
//!
//! | asked | in the ledger |
//! |---|---|
//! | answered 200 | one movement, of as many units as were answered |
//! | without an answer, or refused after one that did not come | one, as it was asked for, or none |
//! | never | none |
//!
//! Every answer under one key is the same, and names the promised units that a count did not find. That the movements add up to
//! the row is what `capacity` holds every article to.

use std::collections::BTreeMap;

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use store::Databases;

use super::evidence::{StockAnswer, StockAsked, StockChange};
use super::read::rows;

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Movement {
    sku: String,
    kind: String,
    reference: String,
    on_hand: i64,
    reserved: i64,
}

impl Movement {
    /// Whether it is what was asked for, and what was answered.
    fn fits(&self, asked: &StockAsked) -> bool {
        let (kind, units) = match asked.change {
            StockChange::Count { .. } => ("count", true),
            StockChange::Restock { units } => ("restock", self.on_hand == units),
            StockChange::Give { units } => ("allotment", self.on_hand == units),
            StockChange::Take { units: Some(units) } => ("allotment", self.on_hand == -units),
            StockChange::Take { units: None } => ("allotment", self.on_hand <= 0),
        };
        let answered = asked.answers.iter().all(|answer| answer.moved == self.on_hand);
        self.kind == kind && units && answered && self.reserved == 0
    }
}

fn compare(asked: &[StockAsked], movements: &[Movement]) -> Breaches {
    let mut breaches = Breaches::default();
    let mut there: BTreeMap<(&str, &str), Vec<&Movement>> = BTreeMap::new();
    for movement in movements {
        there.entry((movement.sku.as_str(), movement.reference.as_str())).or_default().push(movement);
    }
    for one in asked {
        answers(one, &mut breaches);
        effect(one, &there.remove(&(one.sku.as_str(), one.reference.as_str())).unwrap_or_default(), &mut breaches);
    }
    for movement in there.into_values().flatten() {
        let subject = format!("stock of {}", movement.sku);
        breaches.add(Guarantee::Attempted, subject, "no movement that nobody asked for", format!("{movement:?}"));
    }
    if !asked.is_empty() && asked.iter().all(|one| one.answers.is_empty()) {
        let expected = "some of them answered, or nothing is proved";
        breaches.add(Guarantee::Kept, "changes of stock", expected, "none");
    }
    breaches
}

/// One key has one answer, which fits what was asked.
fn answers(asked: &StockAsked, breaches: &mut Breaches) {
    let Some(first) = asked.answers.first() else { return };
    if asked.answers.iter().any(|answer| answer != first) {
        breaches.add(Guarantee::Once, named(asked), "one answer", format!("{:?}", asked.answers));
    }
    let StockAnswer { on_hand, reserved, shortfall, .. } = *first;
    let counted = if let StockChange::Count { on_hand: counted } = asked.change { counted } else { on_hand };
    let missing = (reserved - on_hand).max(0);
    if on_hand != counted || shortfall != missing {
        let expected = format!("{counted} on hand, {missing} missing");
        breaches.add(Guarantee::Ledger, named(asked), expected, format!("{first:?}"));
    }
}

fn effect(asked: &StockAsked, there: &[&Movement], breaches: &mut Breaches) {
    match there {
        [] if asked.answers.is_empty() => {}
        [] => breaches.add(Guarantee::Kept, named(asked), "a movement, as it was answered 200", "none"),
        [one] if one.fits(asked) => {}
        [one] => breaches.add(Guarantee::Ledger, named(asked), format!("{:?}", asked.answers), format!("{one:?}")),
        more => breaches.add(Guarantee::Once, named(asked), "one movement", format!("{more:?}")),
    }
}

fn named(asked: &StockAsked) -> String {
    format!("{:?} of {} under {}", asked.change, asked.sku, asked.reference)
}

/// Figures by name.
pub(super) fn counts(asked: &[StockAsked]) -> [(&'static str, u64); 3] {
    let answered = || asked.iter().filter_map(|one| one.answers.first());
    [
        ("stock_asked", asked.len() as u64),
        ("stock_answered", answered().count() as u64),
        ("stock_shortfalls", answered().filter(|answer| answer.shortfall > 0).count() as u64),
    ]
}

/// Reads the ledger's lines of what is in the warehouse, and compares.
pub(super) async fn judge(databases: &Databases, asked: &[StockAsked]) -> Result<Breaches> {
    let sql = "SELECT sku, kind, reference, on_hand_change, reserved_change FROM stock_movements \
               WHERE kind IN ('count', 'restock', 'allotment')";
    let mut movements = Vec::new();
    for database in databases.databases() {
        for row in rows(database, sql, []).await? {
            movements.push(Movement {
                sku: row.try_get("", "sku")?,
                kind: row.try_get("", "kind")?,
                reference: row.try_get("", "reference")?,
                on_hand: row.try_get("", "on_hand_change")?,
                reserved: row.try_get("", "reserved_change")?,
            });
        }
    }
    Ok(compare(asked, &movements))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [Guarantee; 0] = [];
    /// Three were found of five that are promised; before there were ten.
    const ANSWER: StockAnswer = StockAnswer { moved: -7, on_hand: 3, reserved: 5, shortfall: 2 };

    fn asked(change: StockChange, answers: &[StockAnswer]) -> StockAsked {
        StockAsked { sku: "MUG".to_owned(), reference: "main/k".to_owned(), change, answers: answers.to_vec() }
    }

    fn count(answers: &[StockAnswer]) -> StockAsked {
        asked(StockChange::Count { on_hand: 3 }, answers)
    }

    fn moved(kind: &str, on_hand: i64) -> Movement {
        let (sku, reference) = ("MUG".to_owned(), "main/k".to_owned());
        Movement { sku, kind: kind.to_owned(), reference, on_hand, reserved: 0 }
    }

    fn broken(asked: &StockAsked, movements: &[Movement]) -> Vec<Guarantee> {
        // One that is as it should be, so that something is proved.
        let (reference, answer) = ("main/other".to_owned(), StockAnswer { moved: 1, ..ANSWER });
        let other =
            StockAsked { reference: reference.clone(), ..self::asked(StockChange::Give { units: 1 }, &[answer]) };
        let mut movements = movements.to_vec();
        movements.push(Movement { reference, ..moved("allotment", 1) });
        compare(&[asked.clone(), other], &movements).guarantees().collect()
    }

    #[test]
    fn a_change_that_was_answered_is_there_once_and_one_without_an_answer_may_be() {
        for answers in [[ANSWER].as_slice(), &[ANSWER, ANSWER], &[]] {
            assert_eq!(broken(&count(answers), &[moved("count", -7)]), NONE);
        }
        assert_eq!(broken(&count(&[]), &[]), NONE);
        assert_eq!(broken(&count(&[ANSWER]), &[]), [Guarantee::Kept]);
        assert_eq!(broken(&count(&[ANSWER]), &[moved("count", -7), moved("count", -7)]), [Guarantee::Once]);
    }

    #[test]
    fn a_change_moves_what_was_asked_for_and_answered() {
        assert_eq!(broken(&count(&[ANSWER]), &[moved("count", -6)]), [Guarantee::Ledger], "not what was answered");
        assert_eq!(broken(&count(&[]), &[moved("restock", -7)]), [Guarantee::Ledger], "another change");
        let promises = Movement { reserved: -1, ..moved("count", -7) };
        assert_eq!(broken(&count(&[ANSWER]), &[promises]), [Guarantee::Ledger], "a count gives nothing back");
        for (change, right, wrong) in [
            (StockChange::Give { units: 4 }, 4, 8),
            (StockChange::Take { units: Some(4) }, -4, 4),
            (StockChange::Take { units: None }, -9, 9),
        ] {
            assert_eq!(broken(&asked(change.clone(), &[]), &[moved("allotment", right)]), NONE, "{change:?}");
            assert_eq!(broken(&asked(change, &[]), &[moved("allotment", wrong)]), [Guarantee::Ledger]);
        }
    }

    #[test]
    fn nothing_moves_that_nobody_asked_for() {
        let unasked = Movement { reference: "main/nobody".to_owned(), ..moved("allotment", 5) };
        assert_eq!(broken(&count(&[]), &[unasked]), [Guarantee::Attempted]);
    }

    #[test]
    fn one_key_has_one_answer_which_names_what_is_missing() {
        let there = [moved("count", -7)];
        let later = StockAnswer { reserved: 6, shortfall: 3, ..ANSWER };
        assert_eq!(broken(&count(&[ANSWER, later]), &there), [Guarantee::Once]);
        let hidden = StockAnswer { shortfall: 0, ..ANSWER };
        assert_eq!(broken(&count(&[hidden]), &there), [Guarantee::Ledger]);
        let another = StockAnswer { on_hand: 4, shortfall: 1, ..ANSWER };
        assert_eq!(broken(&count(&[another]), &there), [Guarantee::Ledger], "not the count");
    }

    #[test]
    fn where_nothing_was_answered_nothing_is_proved() {
        assert_eq!(compare(&[count(&[])], &[]).of(Guarantee::Kept), 1);
        assert!(compare(&[], &[]).is_empty(), "nobody counted");
    }
}
