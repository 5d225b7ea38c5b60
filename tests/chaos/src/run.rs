//! A run: the plan under load, then rest, then the verdict.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use broker::QueueName;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::class::{Class, Room};
use crate::client::Client;
use crate::course::Course;
use crate::fault::{Fault, make};
use crate::load::Load;
use crate::oracle::{self, Told, Verdict, judge, settled, tap};
use crate::plan::{Plan, Planned};
use crate::recovery::{Depth, Recovery};
use crate::report::{Evidence, Happened, Report};
use crate::shopkeeping::Shopkeeping;
use crate::watch::Watch;
use crate::world::World;

/// How long the load runs before the first fault.
const WARM_UP: Duration = Duration::from_secs(5);
/// How long a fault may take to begin: poison waits for a broker that another fault holds down.
const BEGIN_WITHIN: Duration = Duration::from_mins(2);
/// How often a fault is tried that does not begin, as others are in its way.
const TRIES: usize = 3;
/// How long undoing is tried; a fault that has met nobody yet waits for its first victim meanwhile.
const UNDO_WITHIN: Duration = Duration::from_mins(6);
const UNDO_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the shop may take to come to rest.
const REST_WITHIN: Duration = Duration::from_mins(4);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary under test, with failpoints in it.
    pub binary: PathBuf,
    /// What the plan is made from.
    pub seed: u64,
    /// How long faults are injected.
    pub length: Duration,
    /// Requests a second of the load.
    pub rate: f64,
    /// Which classes.
    pub classes: Vec<Class>,
}

/// Runs, until the plan is played or `stop`. Second: the folder with logs and journals, where they are worth a look.
///
/// # Errors
/// Where the shop could not be opened, or the load not be made.
pub async fn run(options: &Options, stop: CancellationToken, say: fn(&str)) -> Result<(Report, Option<PathBuf>)> {
    let world = Arc::new(World::open(options.binary.clone()).await.context("the shop can't be opened")?);
    let found = play(&world, options, &stop, say).await;
    let clean = matches!(&found, Ok(evidence) if evidence.verdict.as_ref().is_some_and(Verdict::is_clean));
    let kept = match Arc::try_unwrap(world) {
        Ok(world) => world.close(!clean && !stop.is_cancelled()).await,
        // A task that hangs holds it; its servers go with it, or with the namespace of the script.
        Err(_) => None,
    };
    Ok((Report::new(found?), kept))
}

async fn play(world: &Arc<World>, options: &Options, stop: &CancellationToken, say: fn(&str)) -> Result<Evidence> {
    let plan = Plan::new(options.seed, options.length, &options.classes);
    say(&format!("{} faults of {} classes, seed {}", plan.faults.len(), options.classes.len(), options.seed));
    let begun = Instant::now();
    let beside = Beside::start(world, begun);
    let mut traffic = Traffic::start(world, options, begun).await?;
    let faults = inject(world, &plan, begun, stop, say).await?;
    let mut evidence = Evidence { seed: options.seed, faults, ..Evidence::default() };
    traffic.stop_load(&mut evidence).await;
    evidence.client = traffic.client.seen();
    evidence.lost = world.lost().to_vec();
    let judged = if stop.is_cancelled() || !evidence.lost.is_empty() {
        Ok(())
    } else {
        conclude(world, traffic, &beside, &mut evidence, say).await
    };
    evidence.depths = beside.end().await;
    evidence.deaths = world.roles.deaths();
    judged.map(|()| evidence)
}

/// What goes on beside the faults: the supervisor, the eye on the queues, and the ear at what is told.
struct Beside {
    tasks: JoinSet<()>,
    course: Arc<Course>,
    told: Arc<Mutex<Told>>,
    end: CancellationToken,
}

impl Beside {
    fn start(world: &Arc<World>, begun: Instant) -> Self {
        let (mut tasks, course, end) = (JoinSet::new(), Arc::new(Course::default()), CancellationToken::new());
        tasks.spawn(Arc::clone(&course).watch(Arc::clone(world), begun, end.clone()));
        let (supervised, ending) = (Arc::clone(world), end.clone());
        tasks.spawn(async move { supervised.roles.supervise(ending).await });
        let (world, ending, told) = (Arc::clone(world), end.clone(), Arc::<Mutex<Told>>::default());
        let hears = Arc::clone(&told);
        // A tap that is not there leaves its outcomes unheard, and the oracle says so.
        tasks.spawn(async move { drop(world.hear(&hears, ending).await) });
        Self { tasks, course, told, end }
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn end(self) -> Vec<Depth> {
        self.end.cancel();
        self.tasks.join_all().await;
        self.course.depths()
    }
}

/// Who posts, and who reads.
struct Traffic {
    load: Option<Load>,
    client: Arc<Client>,
    watch: Watch,
    shopkeeping: Shopkeeping,
    posting: JoinSet<Result<()>>,
    enough: CancellationToken,
    journals: Vec<PathBuf>,
}

impl Traffic {
    async fn start(world: &World, options: &Options, begun: Instant) -> Result<Self> {
        let journal = world.folder().join("client.jsonl");
        let urls = [world.roles.url("ingress").await?, world.roles.url("storefront").await?];
        let client = Arc::new(Client::new(urls, &world.api_key, options.seed, &journal, begun).await?);
        let (enough, mut posting) = (CancellationToken::new(), JoinSet::new());
        posting.spawn(Arc::clone(&client).run(enough.clone()));
        let load = Load::start(world, options.rate, options.seed, begun).await?;
        let watch = Watch::start(world, &options.classes).await?;
        let shopkeeping = Shopkeeping::start(world, options.seed).await?;
        let journals = vec![journal, load.journal()];
        Ok(Self { load: Some(load), client, watch, shopkeeping, posting, enough, journals })
    }

    async fn stop_load(&mut self, evidence: &mut Evidence) {
        self.shopkeeping.enough();
        if let Some(load) = self.load.take() {
            match load.stop().await {
                Ok(loaded) => evidence.load = loaded,
                Err(error) => evidence.unrest.push(format!("the load: {error:#}")),
            }
        }
    }

    /// No new orders; those without an answer get their last chance.
    async fn stop_client(&mut self, evidence: &mut Evidence) -> Result<()> {
        self.enough.cancel();
        let posted = self.posting.join_next().await.context("the client ran")??;
        evidence.client = self.client.seen();
        posted.context("the client's journal")
    }
}

/// Rest, then the verdict.
async fn conclude(
    world: &World,
    mut traffic: Traffic,
    beside: &Beside,
    found: &mut Evidence,
    say: fn(&str),
) -> Result<()> {
    say("all faults are undone; waiting until everything has come to rest");
    let repaired = repair(world).await;
    traffic.stop_client(found).await?;
    let mut evidence = world.evidence(traffic.journals)?;
    traffic.shopkeeping.end(&mut evidence).await;
    evidence.asked = traffic.client.asked();
    evidence.shown = Some(traffic.watch.end().await);
    evidence.storefront = Some(world.roles.url("storefront").await?);
    let rested = async {
        repaired?;
        come_to_rest(world, &evidence).await?;
        let noted = world.change_catalogue().await.context("the catalogue can't be changed")?;
        come_to_rest(world, &evidence).await.context("after a change of the catalogue")?;
        anyhow::Ok(noted)
    };
    match rested.await {
        Ok(noted) => evidence.noted = noted,
        Err(error) => found.unrest.push(format!("{error:#}")),
    }
    evidence.told = Some(beside.told());
    say("the oracle looks");
    match judge(&evidence).await {
        Ok(verdict) => found.verdict = Some(verdict),
        Err(error) => found.unrest.push(format!("the oracle can't judge: {error:#}")),
    }
    Ok(())
}

/// Plays the plan: a task for each room.
async fn inject(
    world: &Arc<World>,
    plan: &Plan,
    begun: Instant,
    stop: &CancellationToken,
    say: fn(&str),
) -> Result<Vec<Happened>> {
    let alone = Arc::new(RwLock::new(()));
    let mut rooms = JoinSet::new();
    for room in Room::ALL {
        let player = Player {
            world: Arc::clone(world),
            begun,
            start: begun + WARM_UP,
            stop: stop.clone(),
            alone: Arc::clone(&alone),
            say,
        };
        let faults: Vec<Planned> = plan.of(room).cloned().collect();
        rooms.spawn(async move { player.play(faults).await });
    }
    let mut happened: Vec<Happened> = Vec::new();
    while let Some(room) = rooms.join_next().await {
        happened.extend(room.context("a room of faults")?);
    }
    happened.sort_by(|a, b| a.begun_s.total_cmp(&b.begun_s));
    Ok(happened)
}

struct Player {
    world: Arc<World>,
    begun: Instant,
    start: Instant,
    stop: CancellationToken,
    /// Held by every fault; alone by one that has to be alone.
    alone: Arc<RwLock<()>>,
    say: fn(&str),
}

impl Player {
    async fn play(self, faults: Vec<Planned>) -> Vec<Happened> {
        let mut happened = Vec::new();
        for planned in faults {
            let until = self.world.over().run_until_cancelled(sleep_until(self.start + planned.at));
            if self.stop.run_until_cancelled(until).await.flatten().is_none() {
                break;
            }
            happened.push(self.one(&planned).await);
        }
        happened
    }

    /// A fault, tried again where it does not begin. Told is each try, counted the last.
    async fn one(&self, planned: &Planned) -> Happened {
        let mut happened = self.once(planned).await;
        for _ in 1..TRIES {
            let in_its_way = happened.not_injected.is_some() && make(planned, &self.world).is_ok();
            if !in_its_way || self.stop.is_cancelled() || self.world.over().is_cancelled() {
                break;
            }
            happened = self.once(planned).await;
        }
        happened
    }

    async fn once(&self, planned: &Planned) -> Happened {
        let (_among, _alone);
        if planned.class.alone() {
            _alone = self.alone.write().await;
        } else {
            _among = self.alone.read().await;
        }
        let begun_s = self.now();
        let mut happened = Happened {
            class: planned.class,
            target: planned.target,
            begun_s,
            ended_s: begun_s,
            met: None,
            not_injected: None,
            not_undone: None,
            recovery: Recovery::default(),
        };
        match make(planned, &self.world) {
            Err(why) => happened.not_injected = Some(why),
            Ok(mut fault) => {
                let begin = timeout(BEGIN_WITHIN, fault.begin(&self.world)).await;
                let begin = begin.unwrap_or_else(|_elapsed| Err(anyhow::anyhow!("it did not begin in time")));
                happened.not_injected = begin.err().map(|error| format!("{error:#}"));
                if happened.not_injected.is_none() {
                    self.stop.run_until_cancelled(sleep(planned.lasts)).await;
                }
                happened.not_undone = self.undo(&mut *fault).await.err().map(|error| format!("{error:#}"));
                happened.ended_s = self.now();
                happened.met = fault.met();
            }
        }
        self.tell(&happened);
        happened
    }

    /// Undoes it, again and again: what another fault holds down comes back.
    async fn undo(&self, fault: &mut dyn Fault) -> Result<()> {
        let until = Instant::now() + UNDO_WITHIN;
        loop {
            match timeout(UNDO_WITHIN, fault.end(&self.world)).await.context("it takes too long").flatten() {
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => sleep(UNDO_AGAIN_AFTER).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn tell(&self, happened: &Happened) {
        let Happened { class, target, begun_s, ended_s, met, not_injected, not_undone, .. } = happened;
        let failed = not_injected.iter().map(|why| format!("; NOT INJECTED: {why}"));
        let failed = failed.chain(not_undone.iter().map(|why| format!("; NOT UNDONE: {why}")));
        let failed = failed.collect::<String>();
        let met = met.map(|met| format!(", struck {met}")).unwrap_or_default();
        (self.say)(&format!("{begun_s:7.1} to {ended_s:7.1} s  {:<20} {target}{met}{failed}", class.name()));
    }
}

/// Whole again: servers, roles, topology, and every unrouted message home.
async fn repair(world: &World) -> Result<()> {
    let until = Instant::now() + UNDO_WITHIN;
    loop {
        match world.repair().await {
            Err(error) if Instant::now() >= until => return Err(error.context("the servers can't be repaired")),
            Err(_) => sleep(UNDO_AGAIN_AFTER).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// Waits until queues are empty and what was accepted has arrived.
async fn come_to_rest(world: &World, evidence: &oracle::Evidence) -> Result<()> {
    let begun = Instant::now();
    let homes = World::homes();
    let parked = homes.each_ref().map(QueueName::parked);
    world.until_empty(&homes, REST_WITHIN).await?;
    world.until_empty(&parked, REST_WITHIN).await?;
    let mut look = interval(Duration::from_millis(500));
    while world.backlog().await != Some(0) {
        anyhow::ensure!(begun.elapsed() < REST_WITHIN, "the queues do not get empty: {:?}", world.backlog().await);
        look.tick().await;
    }
    let left = REST_WITHIN.saturating_sub(begun.elapsed());
    anyhow::ensure!(
        settled(evidence, left).await?,
        "not all that was accepted has arrived after {} s",
        begun.elapsed().as_secs()
    );
    // The outboxes are empty by now: what is told is on its way to the ear, if it is not there.
    world.until_empty(&homes, REST_WITHIN).await?;
    world.until_empty(&[QueueName::new(tap::QUEUE)], REST_WITHIN).await
}
