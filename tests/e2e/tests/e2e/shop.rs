//! A shop that runs Millpond: on embedded parts in one process, or on real servers in a process for each role.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use serde_json::{Value, json};
use store::entity::{order, outbox, page_rollup, revenue_rollup, stock, stock_movement};
use store::{Config, DatabaseConfig, Databases};
use tempfile::TempDir;
use testkit::http::{Http, Response};
use testkit::postgres::FreshDatabase;
use testkit::process::{Process, run};
use testkit::rabbit::FreshVhost;
use testkit::{redis, wait};

/// What a shop runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// `millpond run all` and nothing else: an embedded broker, SQLite, memory.
    Embedded,
    /// `RabbitMQ`, `PostgreSQL` and Redis, a process for each role, two for checkout.
    Servers,
}

/// The processes of a shop on servers, by the names that tests kill them by.
const ROLES: [(&str, &[&str]); 6] = [
    ("ingress", &["ingress"]),
    ("storefront", &["storefront"]),
    ("checkout", &["checkout"]),
    ("checkout-2", &["checkout"]),
    ("ops", &["ops"]),
    ("rest", &["relay", "analytics", "invalidation", "parker"]),
];

/// Real servers of one's own; gone when the shop is.
pub(crate) struct Servers {
    pub(crate) broker: FreshVhost,
    pub(crate) database: FreshDatabase,
    /// The cache's URL.
    pub(crate) redis: String,
}

/// A running shop.
pub(crate) struct Shop {
    pub(crate) parts: Parts,
    pub(crate) http: Http,
    pub(crate) api_key: String,
    pub(crate) databases: Databases,
    processes: BTreeMap<&'static str, Process>,
    urls: BTreeMap<&'static str, String>,
    // Last, so that what they serve has stopped when they go.
    pub(crate) servers: Option<Servers>,
    folder: TempDir,
}

impl Shop {
    /// A shop that is open: `stock` names SKUs and units, each at 10.00 EUR.
    pub(crate) async fn open(parts: Parts, stock: &[(&str, i64)]) -> Result<Self> {
        Self::open_with(parts, stock, "").await
    }

    /// As [`Self::open`], with `settings` added to its configuration.
    pub(crate) async fn open_with(parts: Parts, stock: &[(&str, i64)], settings: &str) -> Result<Self> {
        let servers = match parts {
            Parts::Embedded => None,
            Parts::Servers => Some(Servers::fresh().await?),
        };
        Self::open_in(parts, servers, stock, settings).await
    }

    /// As [`Self::open`], on servers that the test has chosen.
    pub(crate) async fn open_on(servers: Servers, stock: &[(&str, i64)]) -> Result<Self> {
        Self::open_in(Parts::Servers, Some(servers), stock, "").await
    }

    /// A shop in one process whose pages take orders from the browsers that they are opened in; `products` is a file of them.
    pub(crate) async fn open_to_browsers(products: &str) -> Result<Self> {
        Self::open_to_browsers_with(products, "").await
    }

    /// As [`Self::open_to_browsers`], with `settings` added to its configuration.
    pub(crate) async fn open_to_browsers_with(products: &str, settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Known before it starts: it is part of the origin that the pages' key is for.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let configuration = configuration(None).replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1) + settings;
        let file = folder.path().join("millpond.toml");
        std::fs::write(&file, &configuration)?;
        let origin = format!("http://127.0.0.1:{port}");
        let pages_key = create_key(folder.path(), &["--name", "pages", "--origin", &origin]).await?;
        std::fs::write(&file, format!("{configuration}[storefront.shop.keys]\nmain = {pages_key:?}\n"))?;
        Self::start(Parts::Embedded, None, folder, products).await
    }

    async fn open_in(parts: Parts, servers: Option<Servers>, stock: &[(&str, i64)], settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("millpond.toml"), configuration(servers.as_ref()) + settings)?;
        let products = stock.iter().fold("sku,title,price,on_hand\n".to_owned(), |mut file, (sku, units)| {
            let _ = writeln!(file, "{sku},{sku},10.00,{units}");
            file
        });
        Self::start(parts, servers, folder, &products).await
    }

    /// In a folder with its configuration.
    async fn start(parts: Parts, servers: Option<Servers>, folder: TempDir, products: &str) -> Result<Self> {
        let database = match &servers {
            None => format!("sqlite:{}", folder.path().join("millpond-data/millpond.db").display()),
            Some(servers) => servers.database.url().to_owned(),
        };
        // As the README has it: on embedded parts nothing but keys and an import comes before `run all`.
        if parts == Parts::Servers {
            verb(folder.path(), &["keys", "token"]).await?;
            verb(folder.path(), &["migrate"]).await?;
        }
        let api_key = create_key(folder.path(), &["--name", "test"]).await?;
        std::fs::write(folder.path().join("products.csv"), products)?;
        verb(folder.path(), &["import", "products.csv"]).await?;
        let mut shop = Self {
            parts,
            http: Http::new(),
            api_key,
            databases: open_database(database)?,
            processes: BTreeMap::new(),
            urls: BTreeMap::new(),
            servers,
            folder,
        };
        shop.start_all().await?;
        Ok(shop)
    }

    async fn start_all(&mut self) -> Result<()> {
        let roles: Vec<_> = match self.parts {
            Parts::Embedded => vec![("all", ["all"].as_slice())],
            Parts::Servers => ROLES.to_vec(),
        };
        for (name, args) in &roles {
            self.launch(name, args)?;
        }
        for (name, _) in roles {
            self.until_ready(name).await?;
        }
        Ok(())
    }

    fn launch(&mut self, name: &'static str, roles: &[&str]) -> Result<()> {
        let args: Vec<&str> = ["--config", "millpond.toml", "run"].iter().chain(roles).copied().collect();
        self.processes.insert(name, Process::start(self.folder.path(), name, &args)?);
        Ok(())
    }

    async fn until_ready(&mut self, name: &'static str) -> Result<()> {
        let process = self.processes.get(name).context("a process that was launched")?;
        let url = process.until_ready(&self.http).await.with_context(|| format!("the process {name}"))?;
        self.urls.insert(name, url);
        Ok(())
    }

    /// The process that runs `role`.
    pub(crate) fn process_of(&self, role: &'static str) -> &'static str {
        match self.parts {
            Parts::Embedded => "all",
            Parts::Servers => role,
        }
    }

    /// SIGKILL to the process that runs `role` (embedded: to everything).
    pub(crate) async fn kill(&mut self, role: &'static str) -> Result<()> {
        let name = self.process_of(role);
        self.processes.remove(name).with_context(|| format!("{name} runs"))?.kill().await
    }

    /// SIGTERM to every process; each must end with success.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for (name, process) in std::mem::take(&mut self.processes) {
            let log = process.log();
            let status = process.terminate().await?;
            ensure!(status.success(), "{name} ended with {status}; it had logged:\n{log}");
        }
        Ok(())
    }

    /// Starts the process that runs `role` again, and waits until it is ready.
    pub(crate) async fn restart(&mut self, role: &'static str) -> Result<()> {
        let name = self.process_of(role);
        let roles = ROLES.iter().find(|(known, _)| *known == name).map_or(["all"].as_slice(), |(_, roles)| roles);
        self.launch(name, roles)?;
        self.until_ready(name).await
    }

    /// Starts everything again after [`Self::stop`].
    pub(crate) async fn reopen(&mut self) -> Result<()> {
        self.start_all().await
    }

    fn url(&self, role: &'static str) -> &str {
        self.urls.get(self.process_of(role)).map_or("", String::as_str)
    }

    /// A URL of the ingress.
    pub(crate) fn ingress(&self, path: &str) -> String {
        format!("{}{path}", self.url("ingress"))
    }

    /// A URL of the process that runs `role`.
    pub(crate) fn at(&self, role: &'static str, path: &str) -> String {
        format!("{}{path}", self.url(role))
    }

    /// A URL of the storefront.
    pub(crate) fn storefront(&self, path: &str) -> String {
        format!("{}{path}", self.url("storefront"))
    }

    /// Posts an order of one line.
    pub(crate) async fn post_order(&self, key: &str, sku: &str, quantity: u32) -> Result<Response> {
        let body = order_body(sku, quantity);
        self.http.post(&self.ingress("/v1/orders"), &self.api_key, &[("idempotency-key", key)], &body).await
    }

    /// Posts an order and expects it to be taken; the path of its status.
    pub(crate) async fn accepted_order(&self, key: &str, sku: &str, quantity: u32) -> Result<String> {
        let response = self.post_order(key, sku, quantity).await?;
        ensure!(response.status == 202, "{}: {}", response.status, response.json());
        Ok(response.header("location").to_owned())
    }

    /// The status behind a status path, once nothing follows it.
    pub(crate) async fn outcome(&self, status_path: &str) -> Result<Value> {
        let url = self.storefront(status_path);
        wait::until("the order has its outcome", || async {
            let status = self.http.get(&url).await.ok()?.json();
            (status["terminal"] == true).then_some(status)
        })
        .await
        .with_context(|| self.logs())
    }

    /// Orders in the database by state.
    pub(crate) async fn orders_in(&self, state: &str) -> Result<u64> {
        let db = self.databases.databases()[0].read();
        Ok(order::Entity::find().filter(order::Column::State.eq(state)).count(db).await?)
    }

    /// Waits until so many orders have an outcome, and everything that follows from them was published.
    pub(crate) async fn until_decided(&self, orders: u64) -> Result<()> {
        let db = self.databases.databases()[0].read();
        wait::until(&format!("{orders} orders have an outcome"), || async {
            let decided = order::Entity::find().count(db).await.ok()?;
            let waiting = outbox::Entity::find().count(db).await.ok()?;
            (decided >= orders && waiting == 0).then_some(())
        })
        .await
        .with_context(|| self.logs())
    }

    /// On hand, reserved.
    pub(crate) async fn stock(&self, sku: &str) -> Result<(i64, i64)> {
        let db = self.databases.databases()[0].read();
        let row = stock::Entity::find().filter(stock::Column::Sku.eq(sku)).one(db).await?;
        row.map(|row| (row.on_hand, row.reserved)).with_context(|| format!("{sku} is in stock"))
    }

    /// How often units of a SKU were taken for an order.
    pub(crate) async fn movements(&self, sku: &str) -> Result<u64> {
        let taken = stock_movement::Entity::find()
            .filter(stock_movement::Column::Sku.eq(sku))
            .filter(stock_movement::Column::Kind.eq("order"));
        Ok(taken.count(self.databases.databases()[0].read()).await?)
    }

    /// Messages that wait in the outbox.
    pub(crate) async fn waiting_in_outbox(&self) -> Result<u64> {
        Ok(outbox::Entity::find().count(self.databases.databases()[0].read()).await?)
    }

    /// Orders whose outcome analytics has counted, in all minutes.
    pub(crate) async fn outcomes_counted(&self) -> Result<i64> {
        let rows = revenue_rollup::Entity::find().all(self.databases.databases()[0].read()).await?;
        Ok(rows.iter().map(|row| row.orders + row.rejected).sum())
    }

    /// Page views counted for a path, in all minutes.
    pub(crate) async fn views(&self, path: &str) -> Result<i64> {
        let rows = page_rollup::Entity::find()
            .filter(page_rollup::Column::Path.eq(path))
            .all(self.databases.databases()[0].read())
            .await?;
        Ok(rows.iter().map(|row| row.views).sum())
    }

    /// What every process has logged, for a failure's message.
    pub(crate) fn logs(&self) -> String {
        self.processes.iter().fold(String::new(), |mut all, (name, process)| {
            let _ = write!(all, "--- {name}\n{}\n", process.log());
            all
        })
    }

    /// The folder that its processes run in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// An order of one line at the price of every product here.
pub(crate) fn order_body(sku: &str, quantity: u32) -> Value {
    json!({
        "currency": "EUR",
        "lines": [{"sku": sku, "quantity": quantity, "unit_price_minor": 1_000}],
        "total_minor": 1_000 * quantity,
    })
}

/// Makes a key of the one market.
async fn create_key(folder: &Path, args: &[&str]) -> Result<String> {
    let printed = verb(folder, &[&["keys", "create", "--market", "main"], args].concat()).await?;
    let key = printed.split_whitespace().find(|word| word.starts_with("mp_"));
    key.map(str::to_owned).context("a key is printed")
}

/// Runs a verb that must succeed; what it printed.
pub(crate) async fn verb(folder: &Path, args: &[&str]) -> Result<String> {
    let args: Vec<&str> = ["--config", "millpond.toml"].iter().chain(args).copied().collect();
    let (status, printed) = run(folder, &args).await?;
    ensure!(status.success(), "millpond {}: {status}\n{printed}", args.join(" "));
    Ok(printed)
}

fn configuration(servers: Option<&Servers>) -> String {
    let parts = servers.map_or_else(String::new, |servers| {
        format!(
            "[broker]\norders = {:?}\n[store.database.main]\nurl = {:?}\nmax_connections = 4\n[cache]\nurl = {:?}\n\
             key_prefix = {:?}\n",
            servers.broker.url(),
            servers.database.url(),
            servers.redis,
            redis::key_prefix(),
        )
    });
    format!("[http]\nbind = \"127.0.0.1:0\"\n[ops]\nbind = \"127.0.0.1:0\"\n{parts}")
}

fn open_database(url: String) -> Result<Databases> {
    let database = DatabaseConfig { max_connections: 2, ..DatabaseConfig::at(url) };
    let mut config = Config::default();
    config.database.insert("main".to_owned(), database);
    Ok(Databases::open(&config)?)
}
