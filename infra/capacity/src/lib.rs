//! What the system can carry.

mod generator;
mod html;
mod journal;
mod line;
mod live;
mod mix;
mod observe;
mod plan;
mod rates;
mod report;
mod request;
mod shape;
mod target;
mod verify;

pub use generator::{Config, Load, Outcome, generate};
pub use html::html;
pub use journal::{Attempt, Entry, Journal, JournalError, Sync, read};
pub use live::{Counts, Latency, Live, Second, Snapshot};
pub use mix::{Article, Events, Mix, MixError, Popularity, What};
pub use observe::{Look, Observer, Queues};
pub use rates::{BadRow, read_rates};
pub use report::{Described, Milliseconds, Observed, Point, Report};
pub use shape::{Phase, Shape};
pub use target::{Target, TargetError};
pub use verify::{Claims, ClaimsError, Finding, settled, verify};
