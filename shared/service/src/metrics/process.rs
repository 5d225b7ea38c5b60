//! The process itself. Read from `/proc` at each scrape: some microseconds, and no disk. Where there is no `/proc` (on a
//! developer's Mac) these have no series.

use std::fs;
use std::time::Duration;

use super::{Family, Metrics, Samples};

static BUILD: Family = Family::gauge("millpond_build_info", "The version of this process, always 1", &["version"]);
static START: Family =
    Family::gauge("millpond_process_start_time_seconds", "When this process started, in seconds since 1970", &[]);
static MEMORY: Family =
    Family::gauge("millpond_process_resident_memory_bytes", "Memory of this process that is in RAM", &[]);
static CPU: Family = Family::counter(
    "millpond_process_cpu_seconds_total",
    "Processor time that this process has used, in user mode and in the kernel",
    &[],
);
static FILES: Family = Family::gauge("millpond_process_open_fds", "File descriptors that this process has open", &[]);
static TASKS: Family = Family::gauge("millpond_runtime_alive_tasks", "Tasks that are alive on the tokio runtime", &[]);

/// The unit of processor time in `/proc`: `USER_HZ`, which is 100 on every architecture of Linux (`man 5 proc`).
const TICKS_PER_S: f64 = 100.0;

/// What was built.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// Of the workspace.
    pub version: &'static str,
}

pub(super) fn measure(metrics: &Metrics, started: Duration, build: Build) {
    metrics.sample(&[&BUILD, &START, &MEMORY, &CPU, &FILES, &TASKS], move |samples| {
        samples.number(&BUILD, &[build.version], 1);
        samples.level(&START, &[], started.as_secs_f64());
        from_proc(samples);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            samples.number(&TASKS, &[], runtime.metrics().num_alive_tasks() as u64);
        }
    });
}

fn from_proc(samples: &mut Samples<'_>) {
    if let Some(kib) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_kib) {
        samples.number(&MEMORY, &[], kib * 1_024);
    }
    if let Some(ticks) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
        samples.fraction(&CPU, &[], ticks / TICKS_PER_S);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        samples.number(&FILES, &[], open.count() as u64);
    }
}

/// `VmRSS` of `/proc/self/status`, which is in KiB whatever the size of a page.
fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The 14th and 15th field of `/proc/self/stat`; the second is a name in brackets that may hold spaces.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_proc_are_read_as_they_are_written() {
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   51200 kB\nThreads:\t4\n"), Some(51_200));
        assert_eq!(resident_kib("Name:\tx\n"), None);
        let stat = "42 (mill pond) S 1 42 42 0 -1 4194560 900 0 0 0 120 30 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(150.0));
    }
}
