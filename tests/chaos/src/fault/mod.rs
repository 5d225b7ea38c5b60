//! Faults: each begins and ends, and its end undoes it.

mod broker;
mod clock;
mod database;
mod network;
mod poison;
mod process;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::class::Class;
use crate::plan::Planned;
use crate::world::World;

/// Something that goes wrong for a while.
pub trait Fault: Send {
    /// Makes it go wrong.
    ///
    /// # Errors
    /// Where it could not be injected.
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>>;

    /// Undoes it, however far the begin came; a second call changes nothing more.
    ///
    /// # Errors
    /// Where it is not undone; it is called again then.
    fn end<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>>;

    /// How often it struck something, once it is over; `None` where beginning is striking.
    fn met(&self) -> Option<u64> {
        None
    }
}

/// How long a fault waits for its first victim before it ends without one: others may hold down whatever it would strike.
const FIRST_WITHIN: Duration = Duration::from_secs(90);
/// How often it strikes again meanwhile.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Waits until `count` says that there was a victim, but not for ever; strikes `again` and again until then.
async fn first(count: impl Fn() -> u64, again: impl Fn()) {
    let (mut look, mut struck_at) = (tokio::time::interval(Duration::from_millis(50)), Instant::now());
    let struck = async {
        while count() == 0 {
            look.tick().await;
            if struck_at.elapsed() >= AGAIN_AFTER {
                struck_at = Instant::now();
                again();
            }
        }
    };
    // Whoever met nobody says so with `Fault::met`.
    let _ = tokio::time::timeout(FIRST_WITHIN, struck).await;
}

/// The fault that was planned, or why this machine can't have it.
///
/// # Errors
/// The reason, in words.
pub fn make(planned: &Planned, world: &World) -> Result<Box<dyn Fault>, String> {
    let (class, target, dice) = (planned.class, planned.target, planned.dice);
    let small = "no small file system: mounting one takes root, or sudo without a password".to_owned();
    Ok(match class {
        Class::RoleKilled => Box::new(process::Killed(target)),
        Class::RollingRestart => Box::new(process::Rolling),
        Class::WorkerFrozen => Box::new(process::Frozen(target)),
        Class::ClockStepped => {
            let library = world.faketime.clone().ok_or("libfaketime is not installed (Debian: faketime)")?;
            Box::new(clock::Stepped::new(target, library))
        }
        Class::RedisKilled => Box::new(redis::Killed),
        Class::RedisFlushed => Box::new(redis::Flushed),
        Class::RedisFrozen => Box::new(redis::Frozen),
        Class::Duplicated => Box::new(broker::Duplicated::new(target, dice)),
        Class::PoisonJson => Box::new(poison::Published { kind: poison::Kind::Json, dice }),
        Class::PoisonVersion => Box::new(poison::Published { kind: poison::Kind::Version, dice }),
        Class::PoisonConstraint => Box::new(poison::Published { kind: poison::Kind::Constraint, dice }),
        Class::PoisonPanic => Box::new(poison::Posted { reference: poison::PANIC, count: poison::MESSAGES, dice }),
        // A hundred orders come in a second.
        Class::PoisonAbort => {
            Box::new(poison::Posted { reference: poison::ABORT, count: planned.lasts.as_secs().max(1), dice })
        }
        Class::BrokerKilled => Box::new(broker::Ended("KILL")),
        Class::BrokerRestarted => Box::new(broker::Ended("TERM")),
        Class::BrokerFrozen => Box::new(broker::Frozen),
        Class::MemoryAlarm => Box::new(broker::Alarm(&["set_vm_memory_high_watermark", "0.0000001"])),
        Class::DiskAlarm => Box::new(broker::Alarm(broker::LOW_ON_DISK)),
        Class::BrokerDiskFull => {
            world.rabbit_disk.as_ref().ok_or(small)?;
            Box::new(broker::DiskFull)
        }
        Class::QueueDeleted => Box::new(broker::QueueDeleted),
        Class::BindingRemoved => Box::new(broker::BindingRemoved),
        Class::ConsumerCancelled => Box::new(broker::ConsumerCancelled),
        Class::DatabaseFrozen => Box::new(database::Frozen),
        Class::DatabaseStopped => Box::new(database::Stopped),
        Class::BackendsKilled => Box::new(database::BackendsKilled),
        Class::CommitCut => Box::new(database::CommitCut::default()),
        Class::DatabaseDiskFull => {
            world.postgres_disk.as_ref().ok_or(small)?;
            Box::new(database::DiskFull)
        }
        Class::Latency => Box::new(network::Slow::new(target, Duration::from_millis(20 + dice % 181))),
        Class::Blackhole => Box::new(network::Blackhole(target)),
        Class::HalfOpen => Box::new(network::Struck::half_open(target)),
        Class::Reset => Box::new(network::Struck::reset(target)),
        Class::CutMidFrame => Box::new(network::Struck::cut(target)),
    })
}

/// For faults that are over once they began.
fn nothing<'a>() -> BoxFuture<'a, Result<()>> {
    Box::pin(std::future::ready(Ok(())))
}
