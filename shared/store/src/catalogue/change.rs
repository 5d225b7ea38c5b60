//! What an edit changes: pure.

use broker::layout;
use events::{Band, Contract, Envelope, ProductChanged, StockChanged, StockShortfall};
use model::{Clock, CollectionName, RegionName, Sku};

use super::ProductEdit;
use super::import::{Imported, Shortfall};
use crate::outbox::Outgoing;

/// A threshold where nobody ever named one: a handful of units is when shoppers hurry.
const LOW_THRESHOLD: i64 = 5;

/// A product as the database holds it, locked, with its standing price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownProduct {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) image: Option<String>,
    /// As they were stored, also before names were checked.
    pub(super) collections: Vec<String>,
    /// Whether it is for sale.
    pub(super) active: bool,
    /// 0: there was no such product before this transaction.
    pub(super) version: i64,
    pub(super) price: Option<(String, i64)>,
}

impl KnownProduct {
    /// Its version, where shoppers see it.
    pub(super) fn shown(&self) -> Option<i64> {
        self.active.then_some(self.version)
    }
}

/// A stock row as the database holds it, locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownStock {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    pub(super) low_threshold: i64,
    /// 0: there was no such row before this transaction.
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
    /// Whether it is listed or found elsewhere than before.
    pub(super) relisted: bool,
    /// What becomes of its stock; none where the edit says nothing of it, or nothing new.
    pub(super) stock: Option<StockChange>,
    created: bool,
    /// Collections that listed it before; they change too.
    collections_before: &'a [String],
    /// Promised units that are missing, whether or not this changes them.
    missing: i64,
}

/// A stock row's next state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StockChange {
    pub(super) on_hand: i64,
    pub(super) low_threshold: i64,
    /// Promised units that were not found.
    pub(super) shortfall: i64,
    pub(super) version: i64,
    /// Units more or fewer than were known.
    pub(super) on_hand_delta: i64,
    /// Units promised to orders; an import leaves them alone.
    reserved: i64,
    /// Those that were missing before.
    shortfall_before: i64,
    /// Set where shoppers are told something else.
    band: Option<Band>,
}

impl StockChange {
    fn between(known: &KnownStock, edit: &ProductEdit) -> Option<Self> {
        if edit.on_hand.is_none() && edit.low_threshold.is_none() {
            return None;
        }
        let is_new = known.version == 0;
        let on_hand = edit.on_hand.unwrap_or(known.on_hand);
        let threshold_before = if is_new { LOW_THRESHOLD } else { known.low_threshold };
        let low_threshold = edit.low_threshold.unwrap_or(threshold_before);
        if !is_new && on_hand == known.on_hand && low_threshold == known.low_threshold {
            return None;
        }
        let band_before = (!is_new).then(|| Band::of(known.on_hand - known.reserved, known.low_threshold));
        let band = Band::of(on_hand - known.reserved, low_threshold);
        Some(Self {
            on_hand,
            low_threshold,
            shortfall: (known.reserved - on_hand).max(0),
            version: known.version + 1,
            on_hand_delta: on_hand - known.on_hand,
            reserved: known.reserved,
            shortfall_before: (known.reserved - known.on_hand).max(0),
            band: (band_before != Some(band)).then_some(band),
        })
    }
}

impl<'a> Change<'a> {
    /// `stock` is there where the edit says something of it.
    pub(super) fn between(known: &'a KnownProduct, stock: Option<&KnownStock>, edit: &'a ProductEdit) -> Self {
        let new_price = known
            .price
            .as_ref()
            .is_none_or(|(currency, minor)| *minor != edit.price.minor || currency != edit.price.currency.code());
        let same_place = known.active
            && known.title == edit.title
            && known.collections.iter().map(String::as_str).eq(edit.collections.iter().map(CollectionName::as_str));
        let same = same_place && !new_price && known.description == edit.description && known.image == edit.image;
        let stock_change = stock.and_then(|known| StockChange::between(known, edit));
        let missing = stock_change.map_or_else(
            || stock.map_or(0, |known| (known.reserved - known.on_hand).max(0)),
            |change| change.shortfall,
        );
        Self {
            edit,
            product_version: (!same).then_some(known.version + 1),
            new_price,
            relisted: !same_place,
            stock: stock_change,
            created: !known.active,
            collections_before: &known.collections,
            missing,
        }
    }

    /// Whether shoppers did not see the product before.
    pub(super) fn created(&self) -> bool {
        self.created
    }

    /// What the rest of the system is told.
    pub(super) fn messages(&self, region: &RegionName, clock: &dyn Clock) -> Vec<Outgoing> {
        let sku = &self.edit.sku;
        let mut messages = Vec::new();
        if let Some(version) = self.product_version {
            let names = self.edit.collections.iter().map(ToString::to_string);
            let collections = names.chain(self.collections_before.iter().cloned()).collect();
            messages.push(product_changed(region, sku, version, collections, clock));
        }
        if let Some(stock) = &self.stock {
            let version = stock.version;
            if let Some(band) = stock.band {
                messages.push(fact(clock, StockChanged { region: region.clone(), sku: sku.clone(), band, version }));
            }
            if stock.shortfall != stock.shortfall_before {
                let StockChange { on_hand, reserved, shortfall, .. } = *stock;
                let (region, sku) = (region.clone(), sku.clone());
                messages.push(fact(clock, StockShortfall { region, sku, on_hand, reserved, shortfall, version }));
            }
        }
        messages
    }

    pub(super) fn count_into(&self, imported: &mut Imported) {
        match self.product_version {
            Some(_) if self.created => imported.created += 1,
            Some(_) => imported.changed += 1,
            None => imported.unchanged += 1,
        }
        if self.missing > 0 {
            imported.shortfalls.push(Shortfall { sku: self.edit.sku.clone(), missing: self.missing });
        }
    }
}

/// `product.changed`, with the collections that list it before or after.
pub(super) fn product_changed(
    region: &RegionName,
    sku: &Sku,
    version: i64,
    mut collections: Vec<String>,
    clock: &dyn Clock,
) -> Outgoing {
    collections.sort();
    collections.dedup();
    fact(clock, ProductChanged { region: region.clone(), sku: sku.clone(), version, collections })
}

fn fact<P: Contract>(clock: &dyn Clock, data: P) -> Outgoing {
    Outgoing::event(layout::facts_exchange().as_str(), &Envelope::new(clock, "catalogue", data))
}
