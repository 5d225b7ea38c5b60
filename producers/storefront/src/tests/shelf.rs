//! A catalogue for what everybody reads.

use cache::Tag;
use events::Band;
use model::{Currency, Money, SystemClock};
use sea_orm::Value;
use store::catalogue::{self, ProductEdit};
use testkit::http::Response;

use super::fixture::Fixture;

/// So many left are a low stock. Seven digits, as no request id or digest happens to hold them.
pub(super) const LOW: i64 = 1_618_033;

/// A product in the collection `mugs`, of which there are plenty.
pub(super) fn edit(sku: &str, title: &str, minor: i64) -> ProductEdit {
    ProductEdit {
        sku: sku.parse().unwrap(),
        title: title.to_owned(),
        description: "Holds coffee. ".repeat(100),
        image: None,
        collections: vec!["mugs".parse().unwrap()],
        price: Money::new(minor, Currency::from_code("EUR").unwrap()),
        on_hand: Some(4_815_162),
        low_threshold: Some(LOW),
    }
}

impl Fixture {
    pub(super) async fn shelve(&self, edits: &[ProductEdit]) {
        self.shelve_in("main", edits).await;
    }

    pub(super) async fn shelve_in(&self, region: &str, edits: &[ProductEdit]) {
        let reference = model::EventId::new(&SystemClock).to_string();
        catalogue::import(self.region(region), edits, &reference, &SystemClock, |_| ()).await.unwrap();
    }

    /// What the invalidation worker does with a change of this product.
    pub(super) async fn purge(&self, sku: &str) {
        let region = &self.region("main").name;
        let sku = sku.parse().unwrap();
        let tags = [
            Tag::product(region, &sku),
            Tag::stock(region, &sku),
            Tag::collection(region, "mugs"),
            Tag::catalogue(region),
        ];
        self.cache.bump(&tags).await.unwrap();
        self.pages.purged(&tags);
    }

    /// What it does with a change of this product's band.
    pub(super) async fn purge_stock(&self, sku: &str) {
        let tags = [Tag::stock(&self.region("main").name, &sku.parse().unwrap())];
        self.cache.bump(&tags).await.unwrap();
        self.pages.purged(&tags);
    }

    /// So many of it are left, told to nobody yet.
    pub(super) async fn leave(&self, sku: &str, units: i64) {
        let sql = "UPDATE stock SET reserved = on_hand - $1, version = version + 1 WHERE sku = $2";
        self.execute(sql, [Value::from(units), sku.into()]).await;
    }

    /// Asks until the answer is as it should be.
    pub(super) async fn until(&self, path: &str, right: impl Fn(&Response) -> bool) -> Response {
        let ask = async || Some(self.get(path).await).filter(|answer| right(answer));
        testkit::wait::until(&format!("{path} is as expected"), ask).await.unwrap()
    }
}

pub(super) fn name_of(band: Band) -> &'static str {
    match band {
        Band::In => "in",
        Band::Low => "low",
        Band::Out => "out",
    }
}
