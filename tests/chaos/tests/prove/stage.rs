//! A shop on real servers that a scenario plays in, with or without a broken promise.

mod pages;
mod queues;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos::after_sale::Sold;
use chaos::oracle::{
    Asked, Evidence, Held, Noted, Poison, PoisonEnd, Posted, Region, Shown, StockAsked, Told, Verdict, judge, settled,
    tap,
};
use failpoint::Point;
use sea_orm::{ConnectionTrait as _, FromQueryResult, Statement};
use serde_json::json;
use store::{Config, DatabaseConfig, Databases};
use tempfile::TempDir;
use testkit::http::Http;
use testkit::postgres::FreshDatabase;
use testkit::process::{Process, binary_with_failpoints};
use testkit::rabbit::FreshVhost;
use testkit::vhost::Vhost;
use testkit::{redis, wait};
use tokio::process::Command;
use uuid::Uuid;

/// `failpoint::VARIABLE`, which this build does not have.
pub(crate) const VARIABLE: &str = "MILLPOND_FAILPOINTS";
/// Where the region's orders wait.
pub(crate) const CHECKOUT_QUEUE: &str = "millpond.checkout.main.v1";
/// Where changes wait that make pages old.
const INVALIDATION_QUEUE: &str = "millpond.invalidation.v1";
/// How long to wait for what will never come.
pub(crate) const SHORT: Duration = Duration::from_secs(5);
/// What is started at the latest before the verdict.
const ROLES: [&str; 6] = ["ingress", "checkout", "relay", "analytics", "invalidation", "parker"];

/// A shop.
pub(crate) struct Stage {
    broken: Option<Point>,
    /// How long everything may take to come to rest.
    pub(crate) patience: Duration,
    http: Http,
    api_key: String,
    pub(crate) databases: Databases,
    pub(crate) posted: Vec<Posted>,
    pub(crate) poison: Vec<Poison>,
    /// Orders whose units are held for a payment, and what was asked of orders and of stock.
    held: Vec<Held>,
    asked: Vec<Asked>,
    stock: Vec<StockAsked>,
    /// What was told, where somebody listens.
    told: Option<Told>,
    /// Tags as they were before what is behind them changed, and what was shown of it.
    noted: Vec<Noted>,
    shown: Option<Shown>,
    journals: Vec<std::path::PathBuf>,
    /// By the roles that they run, with blanks between.
    processes: BTreeMap<&'static str, Process>,
    ingress: String,
    storefront: Option<String>,
    pub(crate) broker: FreshVhost,
    database: FreshDatabase,
    redis_prefix: String,
    // Last, so that what they serve has stopped when they go.
    folder: TempDir,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Stage {
    /// A shop with this stock (SKUs and units, each at 10.00 EUR) and without any process yet. `settings` are lines of its
    /// configuration; `broken` is the promise that every process of it breaks.
    pub(crate) async fn open(broken: Option<Point>, stock: &[(&str, i64)], settings: &str) -> Result<Self> {
        let (folder, vhost) = (tempfile::tempdir()?, FreshVhost::create().await?);
        let (database, redis_prefix) = (FreshDatabase::create().await?, redis::key_prefix());
        let configuration = format!(
            "{settings}\n[http]\nbind = \"127.0.0.1:0\"\n[broker]\norders = {:?}\n[store.database.main]\nurl = {:?}\n\
             max_connections = 4\n[cache]\nurl = {:?}\nkey_prefix = {redis_prefix:?}\n",
            vhost.url(),
            database.url(),
            redis::url(),
        );
        std::fs::write(folder.path().join("millpond.toml"), configuration)?;
        let mut products = "sku,title,price,on_hand\n".to_owned();
        for (sku, units) in stock {
            writeln!(products, "{sku},{sku},10.00,{units}")?;
        }
        std::fs::write(folder.path().join("products.csv"), products)?;
        let mut config = Config::default();
        let limited = DatabaseConfig { max_connections: 2, ..DatabaseConfig::at(database.url().to_owned()) };
        config.database.insert("main".to_owned(), limited);
        let mut stage = Self {
            broken,
            patience: if broken.is_some() { SHORT } else { wait::DEADLINE },
            http: Http::new(),
            api_key: String::new(),
            databases: Databases::open(&config)?,
            posted: Vec::new(),
            poison: Vec::new(),
            held: Vec::new(),
            asked: Vec::new(),
            stock: Vec::new(),
            told: None,
            noted: Vec::new(),
            shown: None,
            journals: Vec::new(),
            processes: BTreeMap::new(),
            ingress: String::new(),
            storefront: None,
            broker: vhost,
            database,
            redis_prefix,
            folder,
        };
        stage.verb(&["--config", "millpond.toml", "keys", "token"]).await?;
        stage.verb(&["--config", "millpond.toml", "migrate"]).await?;
        stage.verb(&["--config", "millpond.toml", "import", "products.csv"]).await?;
        let key = ["--config", "millpond.toml", "keys", "create", "--name", "test", "--market", "main"];
        let printed = stage.verb(&key).await?;
        let key = printed.split_whitespace().find(|word| word.starts_with("mp_")).context("a key is printed")?;
        key.clone_into(&mut stage.api_key);
        Ok(stage)
    }

    async fn verb(&self, args: &[&str]) -> Result<String> {
        let output =
            Command::new(binary_with_failpoints()?).args(args).current_dir(self.folder.path()).output().await?;
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "millpond {}: {printed}", args.join(" "));
        Ok(printed)
    }

    /// Starts a process with these roles, and waits until it is ready.
    pub(crate) async fn start(&mut self, roles: &'static str) -> Result<()> {
        self.launch(roles, None)?;
        let process = self.processes.get(roles).context("a process that was launched")?;
        let url = process.until_ready(&self.http).await?;
        if roles.contains("ingress") {
            self.ingress = url;
        } else if roles.contains("storefront") {
            self.storefront = Some(url);
        }
        Ok(())
    }

    /// Starts a process in which `also` is broken, too.
    pub(crate) fn launch(&mut self, roles: &'static str, also: Option<Point>) -> Result<()> {
        let names: Vec<&str> = self.broken.iter().chain(&also).map(|point| point.name()).collect();
        let names = names.join(",");
        let args: Vec<&str> = ["--config", "millpond.toml", "run"].into_iter().chain(roles.split(' ')).collect();
        let name = roles.replace(' ', "-");
        let environment = [(VARIABLE, names.as_str())];
        let process =
            Process::start_binary(&binary_with_failpoints()?, &environment, self.folder.path(), &name, &args)?;
        self.processes.insert(roles, process);
        Ok(())
    }

    /// Waits until a process has ended by itself.
    pub(crate) async fn until_dead(&mut self, roles: &'static str) -> Result<()> {
        let mut process = self.processes.remove(roles).context("a process that was started")?;
        let status = process.exited().await?;
        ensure!(!status.success(), "{roles} was to die, and ended with {status}");
        Ok(())
    }

    /// Whether a process still runs.
    pub(crate) fn lives(&mut self, roles: &str) -> bool {
        self.processes.get_mut(roles).is_some_and(Process::is_running)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self, roles: &str) -> Result<()> {
        self.processes.remove(roles).context("a process that was started")?.kill().await
    }

    /// SIGTERM.
    pub(crate) async fn stop(&mut self, roles: &str) -> Result<()> {
        let status = self.processes.remove(roles).context("a process that was started")?.terminate().await?;
        ensure!(status.success(), "{roles} ended with {status}");
        Ok(())
    }

    /// What a process has logged.
    pub(crate) fn log(&self, roles: &str) -> String {
        self.processes.get(roles).map(Process::log).unwrap_or_default()
    }

    /// Sends `requests` through `millpond load`, with a journal.
    pub(crate) async fn load(&mut self, requests: u32, what: &[&str]) -> Result<()> {
        let journal = self.folder.path().join(format!("run-{}.jsonl", self.journals.len()));
        let (requests, path) = (requests.to_string(), journal.display().to_string());
        let args = ["load", "--url", &self.ingress, "--key", &self.api_key, "--rate", "500", "--for", "60s"];
        let args = [&args, &["--max-requests", &requests, "--price", "1000", "--journal", &path][..], what].concat();
        self.verb(&args).await?;
        self.journals.push(journal);
        Ok(())
    }

    /// Posts an order of one unit by hand, which is taken; its id.
    pub(crate) async fn post(&mut self, key: &str, sku: &str, reference: Option<&str>) -> Result<Uuid> {
        Ok(self.order(key, sku, 1, reference).await?.0)
    }

    /// Posts an order by hand, which is taken; its id, and the path of its status.
    async fn order(&mut self, key: &str, sku: &str, units: u32, reference: Option<&str>) -> Result<(Uuid, String)> {
        let line = json!({"sku": sku, "quantity": units, "unit_price_minor": 1_000});
        let mut body = json!({"currency": "EUR", "lines": [line], "total_minor": 1_000 * units});
        if let Some(reference) = reference {
            body["reference"] = reference.into();
        }
        let url = format!("{}/v1/orders", self.ingress);
        let answer = self.http.post(&url, &self.api_key, &[("idempotency-key", key)], &body).await?;
        ensure!(answer.status == 202, "{}: {}", answer.status, answer.json());
        let answer = answer.json();
        let Sold { id, status_path, .. } = Sold::of(&answer, sku).context("an order with its status")?;
        self.posted.push(Posted { key: key.to_owned(), accepted: Some(id) });
        Ok((id, status_path))
    }

    /// Says that a message of checkout's queue is to be parked.
    pub(crate) fn poisoned(&mut self, message_id: &str, kind: &str) {
        self.poison.push(Poison {
            queue: CHECKOUT_QUEUE.to_owned(),
            message_id: message_id.to_string(),
            kind: kind.to_owned(),
            end: PoisonEnd::Parked,
        });
    }

    /// The number that a statement selects as `count`.
    pub(crate) async fn count(&self, sql: &str) -> Result<i64> {
        let db = self.databases.analytics().read();
        let statement = Statement::from_string(sea_orm::DbBackend::Postgres, sql.to_owned());
        Ok(Count::find_by_statement(statement).one(db).await?.context("a row")?.count)
    }

    /// Waits until a statement counts `at_least` so many.
    pub(crate) async fn until_count(&self, at_least: i64, sql: &str) -> Result<()> {
        let what = format!("{sql} gives {at_least}");
        wait::until(&what, || async { (self.count(sql).await.ok()? >= at_least).then_some(()) }).await
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, sql: &str) -> Result<()> {
        self.database.execute(sql).await
    }

    /// Holds the lock on an article's row of stock until the transaction is dropped.
    pub(crate) async fn lock(&self, sku: &str) -> Result<store::Transaction> {
        let tx = self.databases.analytics().begin().await?;
        tx.execute_unprepared(&format!("SELECT 1 FROM stock WHERE sku = '{sku}' FOR UPDATE")).await?;
        Ok(tx)
    }

    /// A look into the virtual host.
    pub(crate) fn look(&self) -> Vhost {
        self.broker.look()
    }

    fn evidence(&self) -> Result<Evidence> {
        let api = std::env::var("MILLPOND_TEST_AMQP_API").context("MILLPOND_TEST_AMQP_API: run infra/prove.sh")?;
        let main = || "main".to_owned();
        Ok(Evidence {
            journals: self.journals.clone(),
            databases: BTreeMap::from([(main(), self.database.url().to_owned())]),
            analytics: main(),
            regions: vec![Region { name: main(), number: 1, database: main() }],
            broker_url: self.broker.url().to_owned(),
            broker_api: api,
            redis_url: redis::url(),
            redis_prefix: self.redis_prefix.clone(),
            poison: self.poison.clone(),
            posted: self.posted.clone(),
            asked: self.asked.clone(),
            stock: self.stock.clone(),
            reserving: self.reserving(),
            shown: self.shown.clone(),
            storefront: self.storefront.clone(),
            noted: self.noted.clone(),
            ..Evidence::default()
        })
    }

    /// Waits until nothing is left to tell, and what was told of changes is in somebody's hands.
    pub(crate) async fn until_all_is_told(&self) -> Result<()> {
        self.until_count(1, "SELECT 1 - count(*) AS count FROM outbox").await?;
        self.until_handed_out(INVALIDATION_QUEUE).await
    }

    /// From now on what is told of orders is heard. The relay has to run: it declares where it tells.
    pub(crate) async fn listen(&mut self) -> Result<()> {
        self.told = Some(Told::default());
        tap::lay(&self.look()).await
    }

    /// Hears what waits by now, which gives a full queue room.
    pub(crate) async fn hear(&mut self) -> Result<()> {
        let Some(told) = &mut self.told else { return Ok(()) };
        tap::drain(self.broker.url(), told).await
    }

    /// Waits until the relay has got rid of all that it has to tell, or says that it can't.
    pub(crate) async fn until_relay_has_tried(&self) -> Result<()> {
        wait::until("the relay has tried", || async {
            let gone = self.count("SELECT count(*) AS count FROM outbox").await.ok()? == 0;
            (gone || self.log("relay").contains("is held")).then_some(())
        })
        .await
    }

    /// Open rows of what was parked.
    pub(crate) async fn parked(&self) -> Result<i64> {
        self.count("SELECT count(*) AS count FROM parked_messages WHERE state = 'open'").await
    }

    /// Starts what does not run, waits until everything has come to rest, and asks the oracle. Where a promise is broken
    /// on purpose, what is missing will never come, so the wait is short: the queues tell whether it was long enough.
    pub(crate) async fn verdict(&mut self) -> Result<Verdict> {
        let running: BTreeSet<&str> = self.processes.keys().flat_map(|roles| roles.split(' ')).collect();
        for role in ROLES.into_iter().filter(|role| !running.contains(role)).collect::<Vec<_>>() {
            self.start(role).await?;
        }
        let mut evidence = self.evidence()?;
        settled(&evidence, self.patience).await?;
        self.hear().await?;
        evidence.told.clone_from(&self.told);
        judge(&evidence).await
    }

    /// What every process has logged, for a failure's message.
    pub(crate) fn logs(&self) -> String {
        self.processes.iter().fold(String::new(), |mut all, (name, process)| {
            let _ = write!(all, "--- {name}\n{}\n", process.log());
            all
        })
    }
}
