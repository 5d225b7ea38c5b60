//! What a run found, for scripts and for people.

mod markdown;
mod page;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::class::Class;
use crate::client::Seen;
use crate::load::Loaded;
use crate::oracle::Verdict;
use crate::recovery::{Depth, Recovery, Spread, recovery};
use crate::world::Death;

/// A fault that was, or that could not be.
#[derive(Debug, Clone, Serialize)]
pub struct Happened {
    /// What.
    pub class: Class,
    /// What it struck.
    pub target: &'static str,
    /// When it began, seconds from the start.
    pub begun_s: f64,
    /// When it was undone.
    pub ended_s: f64,
    /// How many connections, commits or deliveries it struck, where they can be counted.
    pub met: Option<u64>,
    /// Why it could not be injected.
    pub not_injected: Option<String>,
    /// Why it could not be undone.
    pub not_undone: Option<String>,
    /// Until the shop was itself again; other faults may have been in the way.
    #[serde(flatten)]
    pub recovery: Recovery,
}

/// A class over the whole run. Times are seconds.
#[derive(Debug, Clone, Serialize)]
pub struct OfClass {
    /// Which.
    pub class: Class,
    /// Faults that were injected.
    pub injected: usize,
    /// Faults that could not be injected, or not be undone.
    pub failed: usize,
    /// From the end of a fault to the first accepted order.
    pub first_202_s: Option<Spread>,
    /// From the end of a fault until the backlog was gone.
    pub drained_s: Option<Spread>,
}

/// A second of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Second {
    /// Orders and batches of page events that were accepted, of the load and of the client.
    pub accepted: u64,
    /// Messages that waited; `null` while the broker did not say.
    pub backlog: Option<u64>,
    /// Faults under way.
    pub faults: u64,
}

/// What was done, and what was seen.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What the plan was made from.
    pub seed: u64,
    /// Every fault, by its begin.
    pub faults: Vec<Happened>,
    /// What the client saw.
    pub client: Seen,
    /// What the load measured.
    pub load: Loaded,
    /// Of the queues.
    pub depths: Vec<Depth>,
    /// Processes that ended by themselves.
    pub deaths: Vec<Death>,
    /// What kept the shop from coming to rest.
    pub unrest: Vec<String>,
    /// Queues that RabbitMQ itself lost: nothing can be judged then.
    pub lost: Vec<String>,
    /// The oracle's word; none where the run was interrupted before.
    pub verdict: Option<Verdict>,
}

/// A run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The same seed plans the same faults.
    pub seed: u64,
    /// From the start to the end of the last fault, seconds.
    pub took_s: f64,
    /// No promise was broken.
    pub clean: bool,
    /// Every fault was injected and undone, the shop came to rest, and the oracle has spoken.
    pub complete: bool,
    /// Faults that were injected.
    pub injected: usize,
    /// By class.
    pub classes: Vec<OfClass>,
    /// Why a class could not be injected or undone.
    pub failures: BTreeMap<Class, String>,
    /// What the oracle found.
    pub verdict: Option<Verdict>,
    /// What kept the shop from coming to rest.
    pub unrest: Vec<String>,
    /// Queues that RabbitMQ itself lost, so that the run ended and was not judged.
    pub lost: Vec<String>,
    /// Requests of the load that were accepted, refused, not answered, not sent.
    pub load: [u64; 4],
    /// Orders of the client: accepted, sent again, refused for good, cancelled or refunded.
    pub client: [u64; 4],
    /// Processes that ended by themselves, poison that aborts them included.
    pub deaths: Vec<Death>,
    /// Every fault.
    pub faults: Vec<Happened>,
    /// Second by second.
    pub seconds: Vec<Second>,
}

impl Report {
    /// Puts everything together.
    pub fn new(evidence: Evidence) -> Self {
        let Evidence { seed, mut faults, client, load, depths, deaths, unrest, lost, verdict } = evidence;
        let accepted: Vec<f64> = client.accepted.iter().map(std::time::Duration::as_secs_f64).collect();
        for fault in faults.iter_mut().filter(|fault| fault.not_injected.is_none()) {
            fault.recovery = recovery(fault.begun_s, fault.ended_s, &accepted, &depths);
        }
        let classes = classes(&faults);
        let failed = |fault: &Happened| {
            let why = fault.not_injected.as_ref().or(fault.not_undone.as_ref())?;
            Some((fault.class, why.clone()))
        };
        let mut failures: BTreeMap<Class, String> = faults.iter().filter_map(failed).collect();
        failures.extend(vain(&faults));
        let clean = verdict.as_ref().is_some_and(Verdict::is_clean) && client.refused == 0;
        Self {
            seed,
            took_s: faults.iter().map(|fault| fault.ended_s).fold(0.0, f64::max),
            clean,
            complete: failures.is_empty() && unrest.is_empty() && verdict.is_some(),
            injected: classes.iter().map(|class| class.injected).sum(),
            seconds: seconds(&faults, &accepted, &load, &depths),
            classes,
            failures,
            verdict,
            unrest,
            lost,
            load: [load.accepted, load.refused.values().sum(), load.unanswered, load.not_sent],
            client: [client.accepted.len() as u64, client.again, client.refused, client.taken_back],
            deaths,
            faults,
        }
    }

    /// As JSON.
    ///
    /// # Panics
    /// Never: names and numbers are always JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and numbers are always JSON") + "\n"
    }
}

/// Classes of which no fault met anybody.
fn vain(faults: &[Happened]) -> impl Iterator<Item = (Class, String)> {
    let vain = Class::ALL.iter().filter(|class| {
        let mut met = faults.iter().filter(|fault| fault.class == **class).map(|fault| fault.met).peekable();
        met.peek().is_some() && met.all(|met| met == Some(0))
    });
    vain.map(|class| (*class, "it struck nothing".to_owned()))
}

fn classes(faults: &[Happened]) -> Vec<OfClass> {
    let of = |class: &Class| {
        let all = faults.iter().filter(|fault| fault.class == *class);
        let injected: Vec<&Happened> = all.clone().filter(|fault| fault.not_injected.is_none()).collect();
        let spread =
            |time: fn(&Recovery) -> Option<f64>| Spread::of(injected.iter().filter_map(|fault| time(&fault.recovery)));
        OfClass {
            class: *class,
            injected: injected.len(),
            failed: all.filter(|fault| fault.not_injected.is_some() || fault.not_undone.is_some()).count(),
            first_202_s: spread(|recovery| recovery.first_202_s),
            drained_s: spread(|recovery| recovery.drained_s),
        }
    };
    let planned = Class::ALL.iter().filter(|class| faults.iter().any(|fault| fault.class == **class));
    planned.map(of).collect()
}

fn seconds(faults: &[Happened], accepted: &[f64], load: &Loaded, depths: &[Depth]) -> Vec<Second> {
    let last = depths.iter().map(|(at, _)| *at).chain(accepted.iter().copied()).fold(0.0, f64::max);
    let mut seconds = vec![Second::default(); index(last) + 1];
    for at in accepted {
        seconds[index(*at)].accepted += 1;
    }
    for second in &load.seconds {
        if let Some(into) = seconds.get_mut(index(load.begun_s) + usize::try_from(second.t).unwrap_or(usize::MAX)) {
            into.accepted += second.accepted;
        }
    }
    for (at, depth) in depths {
        seconds[index(*at)].backlog = *depth;
    }
    for (at, second) in seconds.iter_mut().enumerate() {
        let under_way = |fault: &&Happened| (index(fault.begun_s)..=index(fault.ended_s)).contains(&at);
        second.faults = faults.iter().filter(|fault| fault.not_injected.is_none()).filter(under_way).count() as u64;
    }
    seconds
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run: small and not negative")]
fn index(at: f64) -> usize {
    at as usize
}

#[cfg(test)]
mod tests;
