//! What an edit changes: pure.

use broker::layout;
use events::{Band, Contract, Envelope, ProductChanged, StockChanged, StockShortfall};
use model::{Clock, RegionName};

use super::{Imported, ProductEdit};
use crate::outbox::Outgoing;

/// A product as the database holds it, with its standing price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownProduct {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) collections: Vec<String>,
    pub(super) active: bool,
    pub(super) version: i64,
    pub(super) price: Option<(String, i64)>,
}

/// A stock row as the database holds it, locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownStock {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    pub(super) low_threshold: i64,
    pub(super) version: i64,
}

/// An edit held against what is there.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) edit: &'a ProductEdit,
    /// The product's next version; none where shoppers see no change.
    pub(super) product_version: Option<i64>,
    /// Whether the price is another one.
    pub(super) new_price: bool,
    /// The stock row's next version; none where neither count nor threshold change.
    pub(super) stock_version: Option<i64>,
    /// Units more or fewer than were known.
    pub(super) on_hand_delta: i64,
    /// Units promised to orders; an import leaves them alone.
    pub(super) reserved: i64,
    /// Promised units that were not found.
    pub(super) shortfall: i64,
    /// Those that were missing before.
    shortfall_before: i64,
    created: bool,
    /// Set where shoppers are told something else about stock.
    band: Option<Band>,
    /// Collections that listed it before; they change too.
    collections_before: &'a [String],
}

impl<'a> Change<'a> {
    pub(super) fn between(
        product: Option<&'a KnownProduct>,
        stock: Option<&KnownStock>,
        edit: &'a ProductEdit,
    ) -> Self {
        let new_price = product
            .and_then(|known| known.price.as_ref())
            .is_none_or(|(currency, minor)| *minor != edit.price.minor || currency != edit.price.currency.code());
        let same = product.is_some_and(|known| {
            known.active
                && !new_price
                && known.title == edit.title
                && known.description == edit.description
                && known.collections == edit.collections
        });
        let before = stock.map_or(0, |known| known.on_hand);
        let reserved = stock.map_or(0, |known| known.reserved);
        let same_stock =
            stock.is_some_and(|known| known.on_hand == edit.on_hand && known.low_threshold == edit.low_threshold);
        let band_before = stock.map(|known| Band::of(known.on_hand - known.reserved, known.low_threshold));
        let band = Band::of(edit.on_hand - reserved, edit.low_threshold);
        Self {
            edit,
            product_version: (!same).then(|| product.map_or(1, |known| known.version + 1)),
            new_price,
            stock_version: (!same_stock).then(|| stock.map_or(1, |known| known.version + 1)),
            on_hand_delta: edit.on_hand - before,
            reserved,
            shortfall: (reserved - edit.on_hand).max(0),
            shortfall_before: (reserved - before).max(0),
            created: product.is_none(),
            band: (band_before != Some(band)).then_some(band),
            collections_before: product.map_or(&[], |known| &known.collections),
        }
    }

    /// What the rest of the system is told.
    pub(super) fn messages(&self, region: &RegionName, clock: &dyn Clock) -> Vec<Outgoing> {
        let product = self.product_version.map(|version| {
            let mut collections: Vec<String> =
                self.edit.collections.iter().chain(self.collections_before).cloned().collect();
            collections.sort();
            collections.dedup();
            let data = ProductChanged { region: region.clone(), sku: self.edit.sku.clone(), version, collections };
            fact(clock, data)
        });
        let stock = self.band.zip(self.stock_version).map(|(band, version)| {
            fact(clock, StockChanged { region: region.clone(), sku: self.edit.sku.clone(), band, version })
        });
        let missing = (self.shortfall != self.shortfall_before).then_some(self.stock_version).flatten();
        let shortfall = missing.map(|version| {
            let (on_hand, reserved, shortfall) = (self.edit.on_hand, self.reserved, self.shortfall);
            let (region, sku) = (region.clone(), self.edit.sku.clone());
            fact(clock, StockShortfall { region, sku, on_hand, reserved, shortfall, version })
        });
        product.into_iter().chain(stock).chain(shortfall).collect()
    }

    pub(super) fn count_into(&self, imported: &mut Imported) {
        match self.product_version {
            Some(_) if self.created => imported.created += 1,
            Some(_) => imported.changed += 1,
            None => imported.unchanged += 1,
        }
        if self.shortfall > 0 {
            imported.shortfalls.push((self.edit.sku.clone(), self.shortfall));
        }
    }
}

fn fact<P: Contract>(clock: &dyn Clock, data: P) -> Outgoing {
    Outgoing::event(layout::facts_exchange().as_str(), &Envelope::new(clock, "catalogue", data))
}
