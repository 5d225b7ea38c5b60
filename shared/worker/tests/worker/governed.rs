//! Workers on a database with a budget: what they write together, second by second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use events::DecodeError;
use flow::{Budget, Rank};
use model::Message;
use sea_orm::{ConnectionTrait as _, Value};
use store::{Database, DatabaseConfig, Databases, governor};
use tempfile::TempDir;
use testkit::postgres::FreshDatabase;
use worker::{BatchError, Config, Governor, GovernorConfig, Handled, Handler, Item, SeatSnapshot, Verdict};

use crate::site::{Running, Site, breaker, config, eventually, start_seated};

/// Rows that a message writes.
const ROWS: u64 = 5;
const BUDGET: &str = "1000 rows/s";

enum Home {
    /// One process has the file alone, so its consumers share a governor.
    File(TempDir, OnceLock<(Arc<Database>, Arc<Governor>)>),
    Server(FreshDatabase),
}

impl Home {
    async fn both() -> [Self; 2] {
        [Self::File(tempfile::tempdir().unwrap(), OnceLock::new()), Self::server().await]
    }

    async fn server() -> Self {
        Self::Server(FreshDatabase::create().await.unwrap())
    }

    /// Opened as another process would, with this budget in its configuration.
    fn open(&self, budget: &str) -> Arc<Database> {
        let url = match self {
            Self::File(folder, _) => format!("sqlite:{}", folder.path().join("shop.db").display()),
            Self::Server(database) => database.url().to_owned(),
        };
        let patient = DatabaseConfig { acquire_timeout_ms: 30_000, lock_timeout_ms: 30_000, ..DatabaseConfig::at(url) };
        let mut config = store::Config::default();
        config.database.insert("main".to_owned(), DatabaseConfig { budget: budget.parse().unwrap(), ..patient });
        Arc::clone(Databases::open(&config).unwrap().analytics())
    }

    /// What one more consumer is given; on a server, in a process of its own.
    fn governed(&self, budget: &str, settings: GovernorConfig) -> (Arc<Database>, Arc<Governor>) {
        let new = || {
            let database = self.open(budget);
            (Arc::clone(&database), Arc::new(Governor::new(database, settings)))
        };
        match self {
            Self::File(_, shared) => shared.get_or_init(new).clone(),
            Self::Server(_) => new(),
        }
    }

    async fn migrated(&self) -> Arc<Database> {
        let database = self.open("unlimited");
        store::migrate(&database).await.unwrap();
        execute(&database, "CREATE TABLE written (at double precision NOT NULL)", []).await;
        database
    }
}

async fn execute(database: &Database, sql: &str, values: impl IntoIterator<Item = Value>) {
    let tx = database.begin().await.unwrap();
    tx.execute_raw(database.statement(sql, values)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn number(database: &Database, sql: &str) -> i64 {
    let row = database.read().query_one_raw(database.statement(sql, [])).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Writes rows with the database's time.
struct Writer {
    database: Arc<Database>,
    /// What it says of its commits; 0: nothing.
    commit_ms: AtomicU64,
}

impl Handler for Writer {
    type Event = ();

    fn decode(&self, _message: &Message) -> Result<(), DecodeError> {
        Ok(())
    }

    async fn handle(&self, batch: &[Item<()>]) -> Result<Handled, BatchError> {
        let rows = batch.len() as u64 * ROWS;
        let now = match self.database.backend() {
            store::Backend::Postgres => "extract(epoch FROM clock_timestamp())",
            store::Backend::Sqlite => "(julianday('now') - 2440587.5) * 86400.0",
        };
        let write = async {
            let tx = self.database.begin().await?;
            let values = vec![format!("({now})"); usize::try_from(rows).unwrap()].join(",");
            let sql = format!("INSERT INTO written (at) VALUES {values}");
            tx.execute_raw(self.database.statement(sql, [])).await?;
            tx.commit().await
        };
        write.await.map_err(|error: sea_orm::DbErr| BatchError::Infrastructure(error.to_string()))?;
        let commit_ms = self.commit_ms.load(Ordering::Relaxed);
        let commit = (commit_ms > 0).then(|| Duration::from_millis(commit_ms));
        Ok(Handled { verdicts: vec![Verdict::Done; batch.len()], rows, commit })
    }

    async fn probe(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A consumer at work.
struct Consumer {
    running: Running,
    handler: Arc<Writer>,
    governor: Arc<Governor>,
    name: &'static str,
}

impl Consumer {
    fn start(site: &Site, home: &Home, budget: &str, rank: Rank, name: &'static str) -> Self {
        // Commits are not judged: a machine that compiles beside the tests is slow.
        let settings = GovernorConfig { adaptive: false, look_ms: 50, ..GovernorConfig::default() };
        Self::start_with(site, home.governed(budget, settings), rank, name)
    }

    fn start_with(
        site: &Site,
        (database, governor): (Arc<Database>, Arc<Governor>),
        rank: Rank,
        name: &'static str,
    ) -> Self {
        let seat = Some(governor.seat(rank, name));
        let handler = Arc::new(Writer { database, commit_ms: AtomicU64::new(0) });
        let config = Config { prefetch: 512, batch: 64, handle_timeout_ms: 30_000, ..config() };
        let running = start_seated(site.broker.clone(), &handler, &breaker(), seat, config);
        Self { running, handler, governor, name }
    }

    fn say_of_commits(&self, ms: u64) {
        self.handler.commit_ms.store(ms, Ordering::Relaxed);
    }

    fn seat(&self) -> SeatSnapshot {
        self.governor.snapshot().seats.into_iter().find(|seat| seat.name == self.name).unwrap()
    }

    fn holds(&self, share: f64) -> bool {
        (self.seat().share - share).abs() < 1e-3
    }
}

async fn backlog(site: &Site, messages: usize) {
    let ids: Vec<String> = (0..messages).map(|n| format!("m{n}")).collect();
    for ids in ids.chunks(500) {
        let bodies: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "thing")).collect();
        site.publish(&bodies).await;
    }
}

/// However many workers: from the first row to the last, the budget times that time were written, and no more than it in
/// any second. The bounds are wide, as the machine may stand still for a moment; how exact it is in fact is a matter of
/// arithmetic, and proven with a clock of its own in `flow`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_together_write_what_the_budget_allows_however_many_they_are() {
    for workers in [1, 2, 4] {
        let (site, home) = (Site::new().await, Home::server().await);
        let database = home.migrated().await;
        backlog(&site, 1_200).await;
        let consumers: Vec<Consumer> =
            (0..workers).map(|_| Consumer::start(&site, &home, BUDGET, Rank::Checkout, "one")).collect();
        let all = 1_200 * ROWS;
        let written = || async { number(&database, "SELECT count(*) FROM written").await.unsigned_abs() };
        eventually("everything to be written", async || written().await == all).await;
        // Any second of the database's clock, beginning with any row.
        let fullest = "SELECT max(n) FROM (SELECT count(*) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW AND 1.0::float8 \
                       FOLLOWING) AS n FROM written) AS seconds";
        let fullest = number(&database, fullest).await;
        let ms = number(&database, "SELECT CAST((max(at) - min(at)) * 1000 AS bigint) FROM written").await;
        assert!(fullest <= 1_250, "{workers} workers wrote {fullest} rows in a second");
        assert!(ms >= 5_000, "{workers} workers were done after {ms} ms");
        let rows: u64 = consumers.iter().map(|consumer| consumer.seat().rows).sum();
        assert_eq!(rows, all, "what was counted is what was written");
        for consumer in consumers {
            consumer.running.stop().await;
        }
        let leases = number(&database, "SELECT count(*) FROM governor_lease").await;
        assert_eq!(leases, 0, "who stops gives its lease up");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_newcomer_gets_an_equal_share_and_its_share_returns_when_it_stops() {
    for home in Home::both().await {
        let site = Site::new().await;
        home.migrated().await;
        backlog(&site, 3_000).await;
        let first = Consumer::start(&site, &home, BUDGET, Rank::Checkout, "first");
        eventually("the first to have everything", async || first.holds(1.0)).await;
        let second = Consumer::start(&site, &home, BUDGET, Rank::Checkout, "second");
        eventually("both to have half", async || first.holds(0.5) && second.holds(0.5)).await;
        assert!(second.seat().limited && first.seat().rows > 0 && first.seat().leases == 2);
        second.running.stop().await;
        eventually("the first to have everything again", async || first.holds(1.0)).await;
        first.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn checkout_goes_before_analytics_which_has_a_tenth_in_any_case() {
    for home in Home::both().await {
        let site = Site::new().await;
        home.migrated().await;
        backlog(&site, 3_000).await;
        let analytics = Consumer::start(&site, &home, BUDGET, Rank::Analytics, "analytics");
        eventually("analytics to have everything", async || analytics.holds(1.0)).await;
        let checkout = Consumer::start(&site, &home, BUDGET, Rank::Checkout, "checkout");
        eventually("checkout to go first", async || checkout.holds(0.9) && analytics.holds(0.1)).await;
        checkout.running.stop().await;
        analytics.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_budget_written_into_the_database_reaches_running_workers_and_goes_again() {
    for home in Home::both().await {
        let site = Site::new().await;
        let database = home.migrated().await;
        let consumer = Consumer::start(&site, &home, "unlimited", Rank::Checkout, "checkout");
        backlog(&site, 200).await;
        eventually("work without a budget", async || consumer.running.stats.snapshot().handled == 200).await;
        assert_eq!((consumer.seat().leases, consumer.seat().rows), (0, 0), "nothing is leased or counted");

        let budget: Budget = "400 rows/s, 30 transactions/s".parse().unwrap();
        governor::set_budget(&database, Some(budget)).await.unwrap();
        eventually("the budget", async || consumer.holds(1.0) && consumer.seat().budget == budget).await;
        let seat = consumer.seat();
        assert_eq!((seat.rows_per_s, seat.transactions_per_s), (Some(400.0), Some(30.0)));
        governor::set_budget(&database, None).await.unwrap();
        eventually("no budget", async || consumer.seat().budget.is_unlimited()).await;
        backlog(&site, 200).await;
        eventually("work without a budget", async || consumer.running.stats.snapshot().handled == 400).await;
        consumer.running.stop().await;
    }
}

/// The handler says what its commits took, so that it is not about the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn less_is_given_out_while_commits_are_slow_and_everything_again_once_they_are_not() {
    for home in Home::both().await {
        let site = Site::new().await;
        home.migrated().await;
        // More than the budget allows in any time that the test could take.
        backlog(&site, 4_000).await;
        let settings = GovernorConfig {
            renew_ms: 20,
            lease_ms: 30_000,
            lower_to: 0.5,
            raise_per_s: 1.0,
            ..GovernorConfig::default()
        };
        let consumer = Consumer::start_with(&site, home.governed(BUDGET, settings), Rank::Checkout, "checkout");
        consumer.say_of_commits(5);
        eventually("good times to be known", async || consumer.seat().commit_baseline_ms.is_some()).await;
        assert!(consumer.seat().factor > 0.999, "nothing was slow yet");
        consumer.say_of_commits(500);
        eventually("less to be given out", async || {
            let seat = consumer.seat();
            seat.factor < 0.6 && seat.rows_per_s.is_some_and(|rows| rows < 600.0)
        })
        .await;
        consumer.say_of_commits(5);
        eventually("everything to be given out again", async || {
            let seat = consumer.seat();
            seat.factor > 0.999 && seat.rows_per_s.is_some_and(|rows| rows > 999.0)
        })
        .await;
        consumer.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_can_not_renew_takes_no_more_batches_once_its_lease_has_run_out() {
    let (site, home) = (Site::new().await, Home::server().await);
    let database = home.migrated().await;
    // More than the budget allows in any time that the test could take.
    let messages = 4_000;
    backlog(&site, messages).await;
    let consumer = Consumer::start(&site, &home, BUDGET, Rank::Checkout, "checkout");
    eventually("a lease", async || consumer.holds(1.0)).await;
    // Renewals fail from now on; the handler's table is still there.
    execute(&database, "ALTER TABLE governor_lease RENAME TO away", []).await;
    let handled = || consumer.running.stats.snapshot().handled;
    // Many times the slice that a batch is worth.
    let (mut before, mut unchanged) = (0, 0);
    eventually("the worker to stand still", async || {
        unchanged = if std::mem::replace(&mut before, handled()) == before { unchanged + 1 } else { 0 };
        unchanged == 200
    })
    .await;
    assert!(0 < before && before < messages as u64, "{before} of {messages} were handled, and then no more");
    execute(&database, "ALTER TABLE away RENAME TO governor_lease", []).await;
    eventually("it to go on", async || handled() > before).await;
    consumer.running.stop().await;
}
