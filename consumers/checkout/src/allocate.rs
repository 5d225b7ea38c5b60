//! Who gets the stock: pure arithmetic over one batch, in arrival order.

use std::collections::BTreeMap;

use events::{Rejection, Shortage};
use model::Sku;

/// What one order asks for: units by SKU, duplicate lines merged, in SKU order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Basket(BTreeMap<Sku, u32>);

impl Basket {
    /// Merges lines of the same SKU. The sum saturates, which is more than any stock has.
    pub fn merged(lines: impl IntoIterator<Item = (Sku, u32)>) -> Self {
        lines.into_iter().fold(Self::default(), |mut basket, (sku, units)| {
            let sum = basket.0.entry(sku).or_default();
            *sum = sum.saturating_add(units);
            basket
        })
    }

    /// The merged lines, in SKU order.
    pub fn iter(&self) -> impl Iterator<Item = (&Sku, u32)> {
        self.0.iter().map(|(sku, units)| (sku, *units))
    }
}

/// What an order gets: everything it asks for, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every line, in full.
    Confirmed,
    /// No line at all.
    Rejected(Rejection),
}

/// The batch's result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allocation {
    /// One outcome per basket, in the order given.
    pub outcomes: Vec<Outcome>,
    /// Units that the confirmed orders take, by SKU; always above 0.
    pub taken: BTreeMap<Sku, i64>,
}

/// Gives `available` units (a SKU that is not in the map is not sold here) to `baskets`, first come first served. An
/// order is confirmed exactly when what the orders before it left over covers each of its lines; a rejected order takes
/// nothing, so a smaller one behind it may still be served. An unknown SKU is named before any shortage: it will never
/// be in stock.
pub fn allocate<'a>(baskets: impl IntoIterator<Item = &'a Basket>, available: &BTreeMap<Sku, i64>) -> Allocation {
    let mut left = available.clone();
    let mut allocation = Allocation::default();
    for basket in baskets {
        let outcome = match refusal(basket, &left) {
            Some(reason) => Outcome::Rejected(reason),
            None => Outcome::Confirmed,
        };
        if outcome == Outcome::Confirmed {
            for (sku, units) in basket.iter() {
                add(&mut left, sku, -i64::from(units));
                add(&mut allocation.taken, sku, i64::from(units));
            }
        }
        allocation.outcomes.push(outcome);
    }
    allocation
}

/// Adds to the entry of `sku`, which is nearly always there: the orders of a batch are for few SKUs.
fn add(units: &mut BTreeMap<Sku, i64>, sku: &Sku, more: i64) {
    match units.get_mut(sku) {
        Some(held) => *held += more,
        None => {
            units.insert(sku.clone(), more);
        }
    }
}

/// Why `left` does not cover the basket.
fn refusal(basket: &Basket, left: &BTreeMap<Sku, i64>) -> Option<Rejection> {
    let unknown: Vec<Sku> =
        basket.iter().filter(|(sku, _)| !left.contains_key(*sku)).map(|(sku, _)| sku.clone()).collect();
    if !unknown.is_empty() {
        return Some(Rejection::UnknownSku { skus: unknown });
    }
    let short: Vec<Shortage> = basket
        .iter()
        .filter_map(|(sku, units)| {
            let available = left.get(sku).copied().unwrap_or(0);
            (available < i64::from(units)).then(|| Shortage {
                sku: sku.clone(),
                requested: units,
                // A warehouse's count may have fallen below what is reserved: none available is the truth then.
                available: u32::try_from(available.max(0)).unwrap_or(u32::MAX),
            })
        })
        .collect();
    (!short.is_empty()).then_some(Rejection::OutOfStock { short })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sku(n: u8) -> Sku {
        format!("SKU-{n}").parse().unwrap()
    }

    fn lines() -> impl Strategy<Value = Vec<(Sku, u32)>> {
        prop::collection::vec((0_u8..6, 1_u32..5).prop_map(|(n, q)| (sku(n), q)), 1..5)
    }

    fn orders() -> impl Strategy<Value = Vec<Basket>> {
        prop::collection::vec(lines().prop_map(Basket::merged), 0..40)
    }

    /// SKU 5 is never sold; some of the others are neither; some counts are negative.
    fn stock() -> impl Strategy<Value = BTreeMap<Sku, i64>> {
        prop::collection::btree_map((0_u8..5).prop_map(sku), -2_i64..40, 0..5)
    }

    proptest! {
        #[test]
        fn never_more_is_taken_than_there_is(orders in orders(), stock in stock()) {
            for (sku, taken) in allocate(&orders, &stock).taken {
                prop_assert!(taken > 0 && taken <= stock[&sku], "{sku}: {taken}");
            }
        }

        #[test]
        fn an_order_is_confirmed_exactly_when_the_orders_before_it_left_enough(
            orders in orders(), stock in stock(),
        ) {
            let outcomes = allocate(&orders, &stock).outcomes;
            prop_assert_eq!(outcomes.len(), orders.len());
            let mut left = stock.clone();
            for (order, outcome) in orders.iter().zip(outcomes) {
                let covered = order.iter().all(|(sku, units)| left.get(sku).is_some_and(|l| *l >= i64::from(units)));
                prop_assert_eq!(outcome == Outcome::Confirmed, covered);
                if covered {
                    order.iter().for_each(|(sku, units)| *left.get_mut(sku).unwrap() -= i64::from(units));
                }
            }
        }

        #[test]
        fn what_is_taken_is_the_sum_of_whole_confirmed_orders(orders in orders(), stock in stock()) {
            let allocation = allocate(&orders, &stock);
            let mut sum: BTreeMap<Sku, i64> = BTreeMap::new();
            for (order, outcome) in orders.iter().zip(&allocation.outcomes) {
                if *outcome == Outcome::Confirmed {
                    order.iter().for_each(|(sku, units)| *sum.entry(sku.clone()).or_default() += i64::from(units));
                }
            }
            prop_assert_eq!(sum, allocation.taken);
        }

        #[test]
        fn a_rejection_names_what_was_missing_and_nothing_else(orders in orders(), stock in stock()) {
            let mut left = stock.clone();
            for (order, outcome) in orders.iter().zip(allocate(&orders, &stock).outcomes) {
                match outcome {
                    Outcome::Confirmed => {
                        order.iter().for_each(|(sku, units)| *left.get_mut(sku).unwrap() -= i64::from(units));
                    }
                    Outcome::Rejected(Rejection::UnknownSku { skus }) => {
                        prop_assert!(!skus.is_empty() && skus.iter().all(|sku| !stock.contains_key(sku)));
                    }
                    Outcome::Rejected(Rejection::OutOfStock { short }) => {
                        prop_assert!(!short.is_empty());
                        for line in short {
                            prop_assert_eq!(i64::from(line.available), left[&line.sku].max(0));
                            prop_assert!(line.available < line.requested);
                        }
                    }
                    Outcome::Rejected(other) => prop_assert!(false, "{other:?}"),
                }
            }
        }

        #[test]
        fn duplicate_lines_are_one_line_of_their_sum(lines in lines(), stock in stock()) {
            let mut sums: BTreeMap<Sku, u32> = BTreeMap::new();
            for (sku, units) in &lines {
                *sums.entry(sku.clone()).or_default() += units;
            }
            let merged = Basket::merged(lines);
            let single = Basket::merged(sums);
            prop_assert_eq!(&merged, &single);
            prop_assert_eq!(allocate([&merged], &stock), allocate([&single], &stock));
        }

        #[test]
        fn a_batch_split_anywhere_gives_the_same_outcomes(
            orders in orders(), stock in stock(), at in any::<prop::sample::Index>(),
        ) {
            let (first, second) = orders.split_at(at.index(orders.len() + 1));
            let whole = allocate(&orders, &stock);
            let head = allocate(first, &stock);
            let mut left = stock.clone();
            head.taken.iter().for_each(|(sku, taken)| *left.get_mut(sku).unwrap() -= taken);
            let tail = allocate(second, &left);
            prop_assert_eq!(whole.outcomes, [head.outcomes, tail.outcomes].concat());
        }
    }

    #[test]
    fn a_small_order_behind_a_too_large_one_is_still_served() {
        let baskets = [3, 5, 2].map(|units| Basket::merged([(sku(0), units)]));
        let allocation = allocate(&baskets, &BTreeMap::from([(sku(0), 5)]));
        assert_eq!(allocation.outcomes[0], Outcome::Confirmed);
        assert!(matches!(allocation.outcomes[1], Outcome::Rejected(Rejection::OutOfStock { .. })));
        assert_eq!(allocation.outcomes[2], Outcome::Confirmed);
        assert_eq!(allocation.taken, BTreeMap::from([(sku(0), 5)]));
    }
}
