//! The last decision about a queue's requests, read by each of them: one atomic load. And how long the queue is.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use flow::Reason;

/// Open, or shut for a reason. The path of a request reads it, [`crate::pressure`] turns it.
#[derive(Debug)]
pub(crate) struct Valve {
    shut: AtomicU64,
    wait_s: AtomicU32,
}

const OPEN: u64 = 0;
const UNKNOWN: u32 = u32::MAX;

impl Default for Valve {
    fn default() -> Self {
        Self { shut: AtomicU64::new(OPEN), wait_s: AtomicU32::new(UNKNOWN) }
    }
}

impl Valve {
    /// Why requests are not taken, and after how many seconds it is worth asking again; `None`: they are.
    pub(crate) fn shut(&self) -> Option<(Reason, u32)> {
        let bits = self.shut.load(Ordering::Relaxed);
        let reason = match bits >> 32 {
            1 => Reason::Alarm,
            2 => Reason::HeldBytes,
            3 => Reason::WaitingBytes,
            4 => Reason::Age,
            _ => return None,
        };
        Some((reason, u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX)))
    }

    pub(crate) fn set(&self, shut: Option<(Reason, u32)>) {
        let bits = shut.map_or(OPEN, |(reason, seconds)| {
            let reason: u64 = match reason {
                Reason::Alarm => 1,
                Reason::HeldBytes => 2,
                Reason::WaitingBytes => 3,
                Reason::Age => 4,
            };
            reason << 32 | u64::from(seconds)
        });
        self.shut.store(bits, Ordering::Relaxed);
    }

    /// How long what is taken now is likely to wait in the queue, whole seconds; `None`: not known.
    pub(crate) fn wait_s(&self) -> Option<u32> {
        Some(self.wait_s.load(Ordering::Relaxed)).filter(|wait| *wait != UNKNOWN)
    }

    pub(crate) fn set_wait_s(&self, wait: Option<u32>) {
        self.wait_s.store(wait.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valve_tells_what_it_was_told() {
        let valve = Valve::default();
        assert_eq!(valve.shut(), None);
        for shut in
            [Reason::Alarm, Reason::HeldBytes, Reason::WaitingBytes, Reason::Age].map(|reason| Some((reason, 7)))
        {
            valve.set(shut);
            assert_eq!(valve.shut(), shut);
        }
        valve.set(None);
        assert_eq!(valve.shut(), None);
        assert_eq!(valve.wait_s(), None);
        for wait in [Some(0), Some(40), None] {
            valve.set_wait_s(wait);
            assert_eq!(valve.wait_s(), wait);
        }
    }
}
