//! What the demo needs before it starts: a scratch folder with a configuration, keys, a database and a catalogue.

use anyhow::Context as _;
use capacity::Article;
use flow::Budget;
use model::Currency;
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use service::keys::{Entry, KeyKind, Scope};
use store::Databases;
use store::catalogue::ProductEdit;
use store::entity::{order, outbox};
use storefront::catalogue::file::Format;
use tempfile::TempDir;

use super::super::{import, keys, migrate, products, say};
use crate::cli::DemoArgs;
use crate::settings::Settings;

const CATALOGUE: &str = include_str!("catalogue.csv");
/// Of every price in the catalogue.
pub(super) const CURRENCY: &str = "EUR";
const MARKET: &str = "main";
/// Begins the keys of the generator's orders, so that those placed by hand are not taken for its own.
pub(super) const RUN: &str = "demo";

/// The scratch folder and what lies in it; removed when dropped.
pub(super) struct Scene {
    pub(super) settings: Settings,
    pub(super) api_key: String,
    pub(super) products: Vec<ProductEdit>,
    pub(super) databases: Databases,
    pub(super) folder: TempDir,
}

impl Scene {
    /// Makes everything. The user's own configuration plays no part, neither its file nor the environment: that may be a
    /// shop's, whose database would be migrated and whose queue would get the spike. `set` does.
    pub(super) async fn prepare(args: &DemoArgs, budget: Budget, set: &[String]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("the demo's scratch folder")?;
        let mut layers = vec![
            format!("data={}", folder.path().display()),
            format!("http.bind={}", args.bind()),
            // A free port: a shop may run beside.
            "ops.bind=127.0.0.1:0".to_owned(),
            format!("store.database.main.budget={budget}"),
            "governor.adaptive=false".to_owned(),
            "log.filter=warn".to_owned(),
        ];
        layers.extend_from_slice(set);
        let mut settings = Settings::apart(&layers)?;
        service::telemetry::init(&settings.log)?;
        keys::create_token_key(&settings.token_key_file)?;
        let api_key = keys::create(&settings, "demo", MARKET, &[], &[])?.reveal().to_owned();
        let pages_key = pages_key(&settings)?;
        settings.storefront.shop.keys.insert(MARKET.parse()?, pages_key);
        let products = products::parse(Format::Csv, CATALOGUE.as_bytes(), Currency::from_code(CURRENCY)?)
            .map_err(|bad| anyhow::anyhow!("the sample catalogue: {}", bad.join("; ")))?;
        let databases = Databases::open(&settings.store)?;
        for database in databases.databases() {
            migrate::one(database).await?;
        }
        let region = databases.regions().next().context("the demo has a region")?;
        import::write(region, &products).await?;
        Ok(Self { settings, api_key, products, databases, folder })
    }

    /// Says where it serves, and how to place an order by hand.
    pub(super) fn introduce(&self, url: &str) {
        let key = &self.api_key;
        say(&format!(
            "Millpond serves at {url} with {} products in {}.",
            self.products.len(),
            self.folder.path().display()
        ));
        say(&format!("  the shop            {url}/ in a browser: buy something, during the spike too"));
        say("  the shop's side     POST /v1/orders, /v1/page, /v1/track, /v1/identify, /v1/batch");
        say("  the operator's side GET /readyz, /healthz, and in another terminal");
        say(&format!("                      millpond --set data={} queues", self.folder.path().display()));
        say("Place an order of your own meanwhile:");
        say(&format!(
            "  curl -i {url}/v1/orders -H 'Authorization: Bearer {key}' -H 'Idempotency-Key: mine-1' \\\n    \
             -H 'Content-Type: application/json' -d '{{\"currency\":\"EUR\",\"lines\":[{{\"sku\":\"BOWL-S\",\"quantity\":1,\
             \"unit_price_minor\":950}}],\"total_minor\":950}}'"
        ));
        say("");
    }

    /// What the generator orders; the campaign article comes up as often as any other.
    pub(super) fn articles(&self) -> Vec<Article> {
        let article =
            |product: &ProductEdit| Article { sku: product.sku.to_string(), unit_price_minor: product.price.minor };
        self.products.iter().map(article).collect()
    }

    /// The generator's orders that the database holds.
    pub(super) async fn stored(&self) -> anyhow::Result<u64> {
        let mut stored = 0;
        for database in self.databases.databases() {
            let own = order::Column::IdempotencyKey.starts_with(format!("{RUN}-"));
            stored += order::Entity::find().filter(own).count(database.read()).await?;
        }
        Ok(stored)
    }

    /// Outbox rows that the relay still has to publish.
    pub(super) async fn unpublished(&self) -> anyhow::Result<u64> {
        let mut rows = 0;
        for database in self.databases.databases() {
            rows += outbox::Entity::find().count(database.read()).await?;
        }
        Ok(rows)
    }
}

/// A browser's key for the shop's pages, for any origin: a free port is not known yet, and the folder goes with the demo.
fn pages_key(settings: &Settings) -> anyhow::Result<String> {
    let (plain, hash) = service::keys::generate();
    let entry = Entry {
        name: "pages".to_owned(),
        hash,
        market: MARKET.parse()?,
        kind: KeyKind::Browser,
        scopes: vec![Scope::Orders, Scope::Events],
        origins: Vec::new(),
        expires_at: None,
    };
    service::keys::append(&settings.ingress.keys_file, &entry)?;
    Ok(plain.reveal().to_owned())
}
