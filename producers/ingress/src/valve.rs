//! The last decision about a queue's requests, read by each of them: one atomic load.

use std::sync::atomic::{AtomicU64, Ordering};

use flow::Reason;

/// Open, or shut for a reason. The path of a request reads it, [`crate::pressure`] turns it.
#[derive(Debug, Default)]
pub(crate) struct Valve(AtomicU64);

const OPEN: u64 = 0;

impl Valve {
    /// Why requests are not taken, and after how many seconds it is worth asking again; `None`: they are.
    pub(crate) fn shut(&self) -> Option<(Reason, u32)> {
        let bits = self.0.load(Ordering::Relaxed);
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
        self.0.store(bits, Ordering::Relaxed);
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
    }
}
