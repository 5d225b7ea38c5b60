//! What a world suffers from outside, as transitions of a state machine.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::plan::Armed;

/// Something that happens to a [`crate::World`].
#[derive(Debug, Clone)]
pub enum Mischief {
    /// Time passes.
    Pass(Duration),
    /// A fault waits for its step.
    Arm(Armed),
    /// A connection is cut.
    Cut(Index),
    /// A process dies, and another begins.
    Crash(Index),
    /// A process is stopped, softly or hard, and another begins.
    Restart {
        /// Which.
        which: Index,
        /// Hard.
        hard: bool,
    },
    /// A message that waits or is in hand is there several times.
    Duplicate {
        /// Which.
        which: Index,
        /// How often more.
        times: usize,
    },
    /// A message that waits overtakes all others, or is overtaken by them.
    Reorder {
        /// Which.
        which: Index,
        /// It overtakes.
        to_front: bool,
    },
    /// The broker's alarm begins or ends.
    Alarm(bool),
    /// The broker goes away or comes back.
    Away(bool),
}

/// Anything that may happen.
pub fn mischief() -> impl Strategy<Value = Mischief> + Clone {
    let index = || any::<Index>();
    prop_oneof![
        6 => prop::sample::select(vec![1_u64, 20, 400, 6_000, 80_000])
            .prop_map(|ms| Mischief::Pass(Duration::from_millis(ms))),
        6 => Armed::any().prop_map(Mischief::Arm),
        1 => index().prop_map(Mischief::Cut),
        1 => index().prop_map(Mischief::Crash),
        1 => (index(), any::<bool>()).prop_map(|(which, hard)| Mischief::Restart { which, hard }),
        3 => (index(), 1_usize..5).prop_map(|(which, times)| Mischief::Duplicate { which, times }),
        2 => (index(), any::<bool>()).prop_map(|(which, to_front)| Mischief::Reorder { which, to_front }),
        1 => any::<bool>().prop_map(Mischief::Alarm),
        1 => any::<bool>().prop_map(Mischief::Away),
    ]
}
