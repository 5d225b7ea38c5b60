//! The shop under test: servers, proxies in front of them, a process for each role, and what was done to it by hand.

mod catalogue;
mod configuration;
mod disk;
mod duplicates;
mod home;
mod lost;
mod messages;
mod roles;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use broker_rabbit::Rabbit;
use tempfile::TempDir;
use testkit::process::run_binary;
use testkit::servers::{Server, Servers};
use testkit::vhost::Vhost;
use tokio_util::sync::CancellationToken;

use self::lost::Lost;
use crate::oracle::{Evidence, Poison, Posted, Region, Told, tap};
use crate::proxy::{Direction, Proxy, Way};

pub use disk::SmallDisk;
pub(crate) use duplicates::Flow;
pub(crate) use roles::ROLES;
pub use roles::{Death, Roles};

/// In front of every key in Redis.
const REDIS_PREFIX: &str = "chaos:";
/// The virtual host `/`, as a URL has it.
const VHOST: &str = "%2f";
/// What is ordered: the last ones are scarce.
pub(crate) const SKUS: u32 = 40;
/// So many of them.
pub(crate) const SCARCE: u32 = 8;
const SCARCE_UNITS: u32 = 60;
/// An article whose price changes all the time. Nobody orders it.
pub(crate) const WATCHED: &str = "WATCHED";
/// Price of every article, minor units.
pub(crate) const PRICE_MINOR: i64 = 1_450;
/// The market that holds units for a payment, and its region.
pub(crate) const HELD: &str = "held";
/// The number of that region.
pub(crate) const HELD_NUMBER: u16 = 2;
/// How long units are held there: shorter than many a fault.
pub(crate) const RESERVE: Duration = Duration::from_secs(8);
/// What is ordered there.
pub(crate) const HELD_SKU: &str = "HELD-1";
/// Small, so that filling it takes a moment; large enough for an hour of orders. RabbitMQ's alarm is at 256 MB.
const DISK_MIB: u32 = 1_024;

/// What was posted and published beside the journals.
#[derive(Debug, Default)]
struct Ledger {
    poison: Vec<Poison>,
    posted: Vec<Posted>,
}

/// Proxies in front of the servers.
#[derive(Debug)]
pub struct Proxies {
    /// Of RabbitMQ.
    pub rabbit: Proxy,
    /// Of PostgreSQL.
    pub postgres: Proxy,
    /// Of Redis.
    pub redis: Proxy,
}

impl Proxies {
    /// That of a server, by its name.
    pub fn of(&self, server: &str) -> &Proxy {
        match server {
            "rabbit" => &self.rabbit,
            "postgres" => &self.postgres,
            _ => &self.redis,
        }
    }

    fn open(&self) {
        for proxy in [&self.rabbit, &self.postgres, &self.redis] {
            proxy.set(Direction::ToServer, Way::Open);
            proxy.set(Direction::ToClient, Way::Open);
            proxy.cut_commits(false);
        }
    }
}

/// The shop.
#[derive(Debug)]
pub struct World {
    /// Millpond's processes.
    pub roles: Roles,
    /// Between them and the servers.
    pub proxies: Proxies,
    /// The servers.
    pub servers: Servers,
    /// A server key.
    pub api_key: String,
    /// One of the market that holds units for a payment.
    pub held_key: String,
    /// A key that may edit the catalogue.
    pub edit_key: String,
    /// The file system under RabbitMQ, where it is a small one.
    pub rabbit_disk: Option<SmallDisk>,
    /// The file system under PostgreSQL, where it is a small one.
    pub postgres_disk: Option<SmallDisk>,
    /// The library that steps a process's clock, where it is installed.
    pub faketime: Option<PathBuf>,
    broker: Arc<Rabbit>,
    look: Vhost,
    ledger: Mutex<Ledger>,
    lost: Lost,
    binary: PathBuf,
    folder: Option<TempDir>,
}

impl World {
    /// Opens the shop with this binary: everything runs and is ready.
    ///
    /// # Errors
    /// What kept it from that.
    pub async fn open(binary: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("millpond-chaos-").tempdir()?;
        let at = folder.path().join("services");
        let rabbit_disk = SmallDisk::mount(&at.join("rabbit"), DISK_MIB).await;
        let postgres_disk = SmallDisk::mount(&at.join("postgres"), DISK_MIB).await;
        let servers = Servers::start(at).await?;
        let amqp = format!("{}/{VHOST}", servers.exported("MILLPOND_TEST_AMQP_URL")?);
        let look = Vhost::at(&amqp, servers.exported("MILLPOND_TEST_AMQP_API")?)?;
        let broker = Rabbit::connect(&amqp, "chaos", broker_rabbit::Config::default())?;
        let proxies = proxies(&servers).await?;
        let roles = Roles::new(binary.clone(), folder.path().to_owned())?;
        let mut world = Self {
            roles,
            proxies,
            servers,
            api_key: String::new(),
            held_key: String::new(),
            edit_key: String::new(),
            rabbit_disk,
            postgres_disk,
            faketime: faketime(),
            broker,
            look,
            ledger: Mutex::default(),
            lost: Lost::default(),
            binary,
            folder: Some(folder),
        };
        // Its own log must fit on the small disk.
        world.sql("ALTER SYSTEM SET max_wal_size = '192MB'").await?;
        world.sql("SELECT pg_reload_conf()").await?;
        world.prepare().await?;
        world.roles.all_ready().await?;
        // Before the first order: it hears all that is told.
        tap::lay(&world.look).await?;
        Ok(world)
    }

    async fn prepare(&mut self) -> Result<()> {
        self.configure()?;
        let products: String = (1..=SKUS).map(|n| product(n, "Article")).collect();
        std::fs::write(self.folder().join("products.csv"), format!("{HEAD}{products}{WATCHED},Watched,10.00,1000\n"))?;
        std::fs::write(self.folder().join("held.csv"), format!("{HEAD}{HELD_SKU},Held,14.50,1000000\n"))?;
        for verb in [["keys", "token"].as_slice(), &["migrate"]] {
            self.verb(verb).await?;
        }
        for (file, region) in [("products.csv", "main"), ("held.csv", HELD)] {
            self.verb(&["import", file, "--region", region]).await?;
        }
        self.api_key = self.create_key("main", &["--name", "chaos"]).await?;
        self.edit_key = self.create_key("main", &["--name", "edits", "--scope", "catalogue"]).await?;
        self.held_key = self.create_key(HELD, &["--name", "held"]).await?;
        Ok(())
    }

    async fn create_key(&self, market: &str, args: &[&str]) -> Result<String> {
        let printed = self.verb(&[&["keys", "create", "--market", market], args].concat()).await?;
        let key = printed.split_whitespace().find(|word| word.starts_with("mp_")).context("a key is printed")?;
        Ok(key.to_owned())
    }

    /// Where logs and journals lie.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("."), TempDir::path)
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs a verb of the binary that must succeed; what it printed.
    async fn verb(&self, args: &[&str]) -> Result<String> {
        let args: Vec<&str> = ["--config", "millpond.toml"].iter().chain(args).copied().collect();
        let (status, printed) = run_binary(&self.binary, self.folder(), &args).await?;
        ensure!(status.success(), "millpond {}: {status}\n{printed}", args.join(" "));
        Ok(printed)
    }

    /// Runs statements on PostgreSQL, beside the proxy.
    ///
    /// # Errors
    /// The server's.
    pub async fn sql(&self, sql: &str) -> Result<()> {
        testkit::postgres::execute(self.servers.exported("MILLPOND_TEST_POSTGRES_URL")?, sql.to_owned()).await
    }

    /// Undoes whatever a fault may have left, as an operator would: idempotent.
    ///
    /// # Errors
    /// What can't be undone.
    pub async fn repair(&self) -> Result<()> {
        self.proxies.open();
        for disk in self.rabbit_disk.iter().chain(&self.postgres_disk) {
            disk.free()?;
        }
        for server in [Server::Redis, Server::Postgres, Server::Rabbit] {
            if self.servers.pid(server).is_some() {
                self.servers.thaw(server).await?;
            }
            self.servers.bring_back(server).await?;
        }
        self.look_at_queues().await?;
        self.clear_alarms().await?;
        self.roles.all_ready().await?;
        self.bring_home().await
    }

    /// Clears both alarms of RabbitMQ.
    ///
    /// # Errors
    /// What `rabbitmqctl` says.
    pub async fn clear_alarms(&self) -> Result<()> {
        self.servers.rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]).await?;
        self.servers.rabbitmqctl(&["set_disk_free_limit", "256MB"]).await.map(drop)
    }

    /// Hears what is told of orders, until `stop`.
    pub(crate) async fn hear(&self, told: &Mutex<Told>, stop: CancellationToken) -> Result<()> {
        tap::listen(&*self.broker, told, stop).await
    }

    /// What the oracle may look at.
    ///
    /// # Errors
    /// Where the servers have no URL.
    pub fn evidence(&self, journals: Vec<PathBuf>) -> Result<Evidence> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let exported = |name| self.servers.exported(name).map(ToOwned::to_owned);
        Ok(Evidence {
            journals,
            databases: [("main".to_owned(), exported("MILLPOND_TEST_POSTGRES_URL")?)].into(),
            analytics: "main".to_owned(),
            regions: [("main", 1), (HELD, HELD_NUMBER)].map(|(name, number)| region(name, number)).into(),
            broker_url: format!("{}/{VHOST}", exported("MILLPOND_TEST_AMQP_URL")?),
            broker_api: exported("MILLPOND_TEST_AMQP_API")?,
            redis_url: exported("MILLPOND_TEST_REDIS_URL")?,
            redis_prefix: REDIS_PREFIX.to_owned(),
            poison: ledger.poison.clone(),
            posted: ledger.posted.clone(),
            ..Evidence::default()
        })
    }

    /// Notes poison that is in the system, once however often it is tried.
    pub(crate) fn note_poison(&self, poison: Poison) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.poison.iter().all(|noted| noted.message_id != poison.message_id) {
            ledger.poison.push(poison);
        }
    }

    /// Notes an order that was posted beside the journals.
    pub(crate) fn note_posted(&self, posted: Posted) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).posted.push(posted);
    }

    /// Ends everything; `keep` leaves the folder with logs and journals, and gives its path.
    pub async fn close(mut self, keep: bool) -> Option<PathBuf> {
        use broker::Broker as _;
        self.roles.end().await;
        let _ = tokio::time::timeout(Duration::from_secs(5), self.broker.close()).await;
        for (server, disk) in [(Server::Rabbit, &self.rabbit_disk), (Server::Postgres, &self.postgres_disk)] {
            // What lies on a small disk goes with it, and the script could not remove its folder.
            let _ = self.servers.end(server, "KILL").await;
            if keep {
                // The script removes it with its folder.
                let log = format!("{server:?}.log").to_lowercase();
                let _ = std::fs::copy(self.folder().join("services").join(&log), self.folder().join(&log));
            }
            if let Some(disk) = disk {
                disk.unmount().await;
            }
        }
        let folder = self.folder.take()?;
        drop(self.servers);
        keep.then(|| folder.keep())
    }
}

/// The head of a catalogue, and one of its lines.
const HEAD: &str = "sku,title,price,on_hand\n";

fn product(n: u32, title: &str) -> String {
    let units = if n > SKUS - SCARCE { SCARCE_UNITS } else { 1_000_000 };
    format!("SKU-{n},{title} {n},14.50,{units}\n")
}

fn region(name: &str, number: u16) -> Region {
    Region { name: name.to_owned(), number, database: "main".to_owned() }
}

async fn proxies(servers: &Servers) -> Result<Proxies> {
    let start = async |name: &str| {
        let url = servers.exported(name)?;
        let (_, host) = url.rsplit_once('@').context("a URL has user and password")?;
        let host = host.split('/').next().unwrap_or_default();
        anyhow::Ok(Proxy::start(host.parse().with_context(|| format!("{host} is an address"))?).await?)
    };
    Ok(Proxies {
        rabbit: start("MILLPOND_TEST_AMQP_URL").await?,
        postgres: start("MILLPOND_TEST_POSTGRES_URL").await?,
        redis: start("MILLPOND_TEST_REDIS_URL").await?,
    })
}

/// Debian's `faketime`, for whatever architecture.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|library| library.exists())
}
