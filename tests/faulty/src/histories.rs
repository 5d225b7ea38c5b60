//! How many histories are tried, and where the seeds of those that fail are kept.

use proptest::test_runner::{Config, FileFailurePersistence};

/// How often a failing history is made smaller, at most.
const SHRINKS: u32 = 2_000;

/// `cases` histories, or as many as `PROPTEST_CASES` asks for. The seed of one that fails is kept beside its test, in a file
/// that ends in `.regressions`, and tried first from then on; `PROPTEST_RNG_SEED` asks for the histories of one seed.
pub fn histories(cases: u32) -> Config {
    let asked = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { cases };
    let beside = FileFailurePersistence::WithSource("regressions");
    Config { cases, failure_persistence: Some(Box::new(beside)), max_shrink_iters: SHRINKS, ..asked }
}
