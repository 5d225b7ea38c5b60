//! Promises broken on purpose, to prove that the fault suite would notice.
//!
//! A suite that has never been red proves nothing. So for each guarantee there is a [`Point`] in the product where it can
//! be broken: the oracle of `tests/chaos` must then name that very guarantee, and be silent about the same run without
//! the point. What each breaks and why stands at its variant, and nowhere else; in the product it is one line with
//! [`broken!`].
//!
//! # Guarantees
//! - **No other build has any of it.** [`ENABLED`] is a constant that only the feature `enabled` makes true, and with it
//!   go the branches, the names and the environment variable. An end-to-end test looks into the binary for them.
//! - Nothing breaks by itself, also in such a build: `MILLPOND_FAILPOINTS` names the points that are active in a process, with
//!   commas between. A name that is not known stops the start ([`check`]): a typing error would prove that the suite is
//!   blind.
//!
//! # Why not a library
//! `fail` (the well-known one) keeps a registry in a global static, ignores names that nobody defined, and leaves a
//! function early, where most of these points take another branch in the middle of one. It also brings an older `rand`.
//! What is needed here is a closed list and an `if`.
//!
//! # To add one
//! A variant with its name and essay, one `broken!` in the product, and a case in `tests/chaos/tests/prove` that shows the
//! oracle red with it and silent without.

/// Whether this build has failpoints at all.
pub const ENABLED: bool = cfg!(feature = "enabled");

macro_rules! points {
    ($($(#[doc = $essay:literal])+ $variant:ident = $name:literal),+ $(,)?) => {
        /// Where a promise can be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $essay])+ $variant),+
        }

        impl Point {
            /// Every point.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in the environment.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

points! {
    /// A delivery is acked when it arrives and not when its effect is committed. A worker that is killed in between loses
    /// the order.
    AckBeforeCommit = "ack-before-commit",
    /// A publish counts as stored as soon as it was sent. A queue that refuses it, or a broker that dies, loses what was
    /// answered 202.
    ConfirmNotAwaited = "confirm-not-awaited",
    /// A multiple ack covers what is still unsettled below it. A worker that is killed meanwhile loses those orders.
    AckOverUnsettled = "ack-over-unsettled",
    /// Exchanges have no alternate, and publishes are not mandatory: what no binding wants is confirmed and dropped.
    NoAlternate = "no-alternate",
    /// A parked message is acked and no copy is kept: it is neither done nor visible.
    ParkedDropped = "parked-dropped",
    /// The parker acks a parked message and commits its row a minute later: one that is killed in between leaves it nowhere.
    ParkerAcksFirst = "parker-acks-first",
    /// Checkout does not ask whether an order is there already: a second delivery takes the units again.
    RepeatIsNew = "repeat-is-new",
    /// Analytics does not ask whether it has seen an event or an outcome: a second delivery counts again.
    CountTwice = "count-twice",
    /// Checkout sells what is not there. The scenario drops the table's CHECK first, which would stop it.
    Oversell = "oversell",
    /// Stock is changed without a movement that says who took it.
    NoMovement = "no-movement",
    /// A row of the outbox is deleted although the broker refused it: what follows from an order is never told.
    DeleteUnconfirmed = "delete-unconfirmed",
    /// The cache is told of a confirmed order before the transaction has decided.
    CacheBeforeCommit = "cache-before-commit",
    /// A change of the catalogue or of stock is acked and no tag is purged: what was rendered before is fresh until it is old by
    /// itself.
    PurgeDropped = "purge-dropped",
    /// The sweeper finds nothing: what was not paid in time stays set aside, and nobody else can buy it.
    NeverReleased = "never-released",
    /// A payment of an order that was released already is answered 200: it has its money, and others have its units.
    PaidLate = "paid-late",
    /// A change of stock or of an order does not ask whether its key was seen: a repeat has its effect again. The scenarios drop
    /// the tables' keys first, which would stop it.
    ChangedTwice = "changed-twice",
    /// The ingress publishes an order that no client posted beside each that one did.
    MadeUpOrder = "made-up-order",
    /// Not a broken promise but a fault that no kill from outside can time: the process aborts after the COMMIT and
    /// before the acks.
    DieAfterCommit = "die-after-commit",
    /// Not a broken promise but poison: an order whose `reference` is [`PANIC`] makes checkout panic, and one with
    /// [`ABORT`] takes the process down.
    PoisonByReference = "poison-by-reference",
}

/// Reference of an order that makes checkout panic, with [`Point::PoisonByReference`].
pub const PANIC: &str = "failpoint:panic";

/// Reference of an order that aborts the process of checkout, with [`Point::PoisonByReference`].
pub const ABORT: &str = "failpoint:abort";

/// Whether the promise of a [`Point`] is broken in this process: `broken!(AckBeforeCommit)`. `false`, at compile time, in
/// every build without failpoints.
#[macro_export]
macro_rules! broken {
    ($point:ident) => {
        $crate::ENABLED && $crate::is_active($crate::Point::$point)
    };
}

#[cfg(feature = "enabled")]
mod active {
    use super::Point;

    /// The environment variable that names the active points.
    pub const VARIABLE: &str = "MILLPOND_FAILPOINTS";

    /// Whether `point` is active in this process.
    pub fn is_active(point: Point) -> bool {
        // Read each time: a test build can afford it, and there is no state that roles of one process would share.
        names().iter().any(|name| name == point.name())
    }

    fn names() -> Vec<String> {
        let named = std::env::var(VARIABLE).unwrap_or_default();
        named.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// The active points, for the log.
    ///
    /// # Errors
    /// A name that is none, with those that are.
    pub fn check() -> Result<Vec<&'static str>, String> {
        let find = |name: &String| {
            let known = Point::ALL.iter().map(|point| point.name());
            let all = || known.clone().collect::<Vec<_>>().join(", ");
            let found = known.clone().find(|known| known == name);
            found.ok_or_else(|| format!("{VARIABLE} names {name:?}, which is no failpoint. There are: {}", all()))
        };
        names().iter().map(find).collect()
    }

    /// Does what an order's reference asks for: see [`Point::PoisonByReference`].
    ///
    /// # Panics
    /// For [`super::PANIC`].
    pub fn poison(reference: &str) {
        if is_active(Point::PoisonByReference) {
            assert_ne!(reference, super::PANIC, "a failpoint panicked on an order's reference");
            if reference == super::ABORT {
                std::process::abort();
            }
        }
    }
}

#[cfg(feature = "enabled")]
pub use active::{VARIABLE, check, is_active, poison};

#[cfg(not(feature = "enabled"))]
mod absent {
    use super::Point;

    /// Never.
    pub const fn is_active(_point: Point) -> bool {
        false
    }

    /// None.
    ///
    /// # Errors
    /// Never.
    pub const fn check() -> Result<Vec<&'static str>, String> {
        Ok(Vec::new())
    }

    /// Nothing.
    pub const fn poison(_reference: &str) {}
}

#[cfg(not(feature = "enabled"))]
pub use absent::{check, is_active, poison};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')), "{names:?}");
    }

    #[test]
    fn nothing_breaks_unless_it_is_named() {
        assert!(Point::ALL.iter().all(|point| !is_active(*point)));
        assert_eq!(check(), Ok(Vec::new()));
        poison(ABORT);
    }
}
