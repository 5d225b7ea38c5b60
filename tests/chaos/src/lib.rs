//! Faults injected into a running shop, and the verdict on what it left behind.
//!
//! # Nouns
//! - A `plan::Plan` says which faults begin when and last how long: a pure function of a seed and a length.
//! - A `fault::Fault` begins and ends; whatever it did is undone at its end, also where a run is interrupted.
//! - A `world::World` is the shop under test: its servers, its processes, the proxies between them.
//! - The [`oracle`] judges what is left when everything has come to rest, by the journals of those who posted.
//! - A `report::Report` holds all of it: faults, recovery times, courses, the verdict, and what could not be injected.
//!
//! # Guarantees
//! - **Real.** Processes are the released binary, one for each role; servers are the real ones. Nothing is mocked.
//! - **Repeatable as far as it can be.** The same seed plans the same faults at the same times. What a fault meets in
//!   the system differs from run to run.
//! - **Nothing passes in silence.** A fault that could not be injected is named in the report, and a run with one is
//!   incomplete: its exit status is not 0.
//! - **Nothing stays behind.** Everything is private to the run, in one folder, and goes with it.

pub mod oracle;
