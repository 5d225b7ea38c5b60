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

    /// What was rendered from it. Any change of a product may be one of what a search finds.
    fn tags(&self) -> Vec<Tag> {
        match self {
            Self::Product(change) => {
                let own = [Tag::product(&change.region, &change.sku), Tag::catalogue(&change.region)];
                let collections = change.collections.iter().map(|name| Tag::collection(&change.region, name));
                own.into_iter().chain(collections).collect()
            }
            Self::Stock(change) => vec![Tag::stock(&change.region, &change.sku)],
            Self::Shortfall(change) => vec![Tag::stock(&change.region, &change.sku)],
        }
    }
}

/// One purge per tag, with the newest version of each thing that named it. Per tag, because a change names only the
/// collections that list the product before or after *it*: when version 6 (B to C) overtakes version 5 (A to B), version 5
/// is old for the product and for B, and is still the only one that purges A.
pub(crate) fn purges<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Vec<Purge> {
    let mut newest: BTreeMap<Tag, BTreeMap<String, i64>> = BTreeMap::new();
    for change in changes {
        let (aggregate, version) = (change.aggregate(), change.version());
        for tag in change.tags() {
            note(newest.entry(tag).or_default(), aggregate.clone(), version);
        }
    }
    newest.into_iter().map(|(tag, versions)| Purge { tag, versions }).collect()
}

/// Keeps the newest version of a thing.
pub(crate) fn note(versions: &mut BTreeMap<String, i64>, aggregate: String, version: i64) {
    let held = versions.entry(aggregate).or_insert(version);
    *held = version.max(*held);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(sku: &str, version: i64, collections: &[&str]) -> Change {
        let collections = collections.iter().map(|name| (*name).to_owned()).collect();
        let (region, sku) = ("eu".parse().unwrap(), sku.parse().unwrap());
        Change::Product(ProductChanged { region, sku, version, collections })
    }

    #[test]
    fn many_changes_are_one_purge_per_tag_with_the_newest_version_of_each_thing() {
        let changes = [
            product("MUG", 5, &["a", "b"]),
            product("MUG", 7, &["b"]),
            product("MUG", 6, &["b"]),
            product("CUP", 1, &["b"]),
        ];
        let said = |purge: &Purge| {
            let versions: Vec<String> =
                purge.versions.iter().map(|(thing, version)| format!("{thing}={version}")).collect();
            format!("{}: {}", purge.tag, versions.join(" "))
        };
        let purges: Vec<String> = purges(&changes).iter().map(said).collect();
        let expected = [
            "catalogue:eu: product:eu:CUP=1 product:eu:MUG=7",
            "collection:eu:a: product:eu:MUG=5",
            "collection:eu:b: product:eu:CUP=1 product:eu:MUG=7",
            "product:eu:CUP: product:eu:CUP=1",
            "product:eu:MUG: product:eu:MUG=7",
        ];
        assert_eq!(purges, expected);
    }
}
