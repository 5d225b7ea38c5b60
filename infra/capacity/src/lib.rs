//! What the system can carry, measured from outside; and what became of it, held against the databases.
//!
//! # Nouns
//! - A [`Shape`] plans when requests arrive, a [`Mix`] what each of them is, both as functions of numbers and a seed.
//! - [`generate`] sends them to a [`Target`]; [`Live`] counts, second by second; a [`Journal`] keeps every attempt and
//!   answer.
//! - An [`Observer`] looks at queues and databases beside the run, and a [`Report`] puts all of it together, as a table, as
//!   JSON with stable fields and as a page ([`html`], on a [`Page`] that others may fill, too).
//! - [`verify`] is the oracle: it holds a journal's [`Claims`] against the databases and counts what is lost, duplicated,
//!   unexpected or oversold.
//!
//! # Guarantees
//! - **Open loop.** Arrival times are planned before the run; a slow answer does not slow the next request, and latency
//!   counts from the planned time (Gil Tene's "coordinated omission" is thereby avoided). Timers have a resolution of a
//!   millisecond and fire late, never early, so a latency is too high by up to one and never too low.
//! - **Bounded.** At most [`Config::connections`] requests are in flight. An arrival that finds no free connection waits,
//!   and the wait counts as latency; at most [`Config::max_waiting`] wait, and what comes beyond is counted and journalled
//!   as not sent, never dropped silently.
//! - **The journal knows more than the system.** No attempt is sent that its file does not announce, and no line is ever
//!   changed. `lost` and `duplicated` come from it and from the databases, never from the system's own counters. A
//!   generator that is killed leaves attempts that are known to be uncertain, and no others.
//! - **Repeatable.** The same seed sends the same requests, whichever connection takes them.
//!
//! # Why it is built so
//! The generator runs beside what it measures, on the same cores, so what it spends is missing there. There is a task for
//! each connection and none for each request, a socket and `httparse` in the place of an HTTP client, bodies that are
//! formatted once, and a journal that costs a request no system call. The plan is read lazily, so an hour at any rate
//! needs no list.
//!
//! # Refused
//! A closed loop that passes for a latency test ([`Load::Saturate`] is one, for capacity alone, and the report says so),
//! and sampling the journal (a lost order hides in what was not sampled). HTTP/2 and TLS: the ingress is measured, and not
//! what stands in front of it.

mod generator;
mod html;
mod journal;
mod line;
mod live;
mod mix;
mod observe;
mod page;
mod plan;
mod rates;
mod report;
mod report_file;
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
pub use page::{Line, Page, Picture, Table};
pub use rates::{BadRow, read_rates};
pub use report::{Described, Milliseconds, Observed, Point, Report};
pub use report_file::{ReportFile, Unwritable};
pub use shape::{Phase, Shape};
pub use target::{Target, TargetError};
pub use verify::{Beside, Breach, Breaches, Claims, ClaimsError, Finding, Guarantee, settled, verify, verify_beside};
