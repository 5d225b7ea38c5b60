//! From changes to purges: pure.

use std::collections::BTreeMap;

use cache::{Purge, Tag};
use events::{ProductChanged, StockChanged, StockShortfall};

/// Something that pages were rendered from is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A product.
    Product(ProductChanged),
    /// Its availability.
    Stock(StockChanged),
    /// Promised units that are missing, or no longer are: none is for sale meanwhile.
    Shortfall(StockShortfall),
}

impl Change {
    /// The thing that changed; products and stock count their versions apart.
    fn aggregate(&self) -> String {
        match self {
            Self::Product(change) => Tag::product(&change.region, &change.sku).to_string(),
            Self::Stock(change) => Tag::stock(&change.region, &change.sku).to_string(),
            // The same row, and so the same versions.
            Self::Shortfall(change) => Tag::stock(&change.region, &change.sku).to_string(),
        }
    }

    fn version(&self) -> i64 {
        match self {
            Self::Product(change) => change.version,
            Self::Stock(change) => change.version,
            Self::Shortfall(change) => change.version,
        }
    }

    fn tags(&self) -> Vec<Tag> {
        match self {
            Self::Product(change) => {
                let collections = change.collections.iter().map(|name| Tag::collection(&change.region, name));
                std::iter::once(Tag::product(&change.region, &change.sku)).chain(collections).collect()
            }
            Self::Stock(change) => vec![Tag::stock(&change.region, &change.sku)],
            Self::Shortfall(change) => vec![Tag::stock(&change.region, &change.sku)],
        }
    }
}

/// One purge per thing and tag, with the newest version that named both. Per tag, because a change names only the
/// collections that list the product before or after *it*: when version 6 (B to C) overtakes version 5 (A to B), version 5 is old for
/// the product and for B, and is still the only one that purges A.
pub(crate) fn purges<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Vec<Purge> {
    let mut newest: BTreeMap<(String, Tag), i64> = BTreeMap::new();
    for change in changes {
        let (aggregate, version) = (change.aggregate(), change.version());
        for tag in change.tags() {
            let held = newest.entry((aggregate.clone(), tag)).or_insert(version);
            *held = version.max(*held);
        }
    }
    let purge =
        |((aggregate, tag), version)| Purge { aggregate: format!("{aggregate}>{tag}"), version, tags: vec![tag] };
    newest.into_iter().map(purge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(version: i64, collections: &[&str]) -> Change {
        let collections = collections.iter().map(|name| (*name).to_owned()).collect();
        let (region, sku) = ("eu".parse().unwrap(), "MUG".parse().unwrap());
        Change::Product(ProductChanged { region, sku, version, collections })
    }

    #[test]
    fn many_changes_of_one_thing_are_one_purge_per_tag_with_the_newest_version() {
        let changes = [product(5, &["a", "b"]), product(7, &["b"]), product(6, &["b"])];
        let purges: Vec<(String, i64)> =
            purges(&changes).into_iter().map(|purge| (purge.tags[0].to_string(), purge.version)).collect();
        let expected = [("collection:eu:a", 5), ("collection:eu:b", 7), ("product:eu:MUG", 7)];
        assert_eq!(purges, expected.map(|(tag, version)| (tag.to_owned(), version)));
    }
}
