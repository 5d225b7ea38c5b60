//! Waiting on a condition, with a deadline; never for a length of time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{interval, timeout};

/// How long a condition may take before the test fails: far above what a loaded two-core machine needs.
pub const DEADLINE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks `condition` until it gives a value.
///
/// # Errors
/// With `what` in the message, after [`DEADLINE`].
pub async fn until<T, F>(what: &str, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let mut look = interval(LOOK_EVERY);
    let asked = async {
        loop {
            look.tick().await;
            if let Some(value) = condition().await {
                return value;
            }
        }
    };
    timeout(DEADLINE, asked).await.with_context(|| format!("waited {} s in vain until {what}", DEADLINE.as_secs()))
}
