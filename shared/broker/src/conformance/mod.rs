//! What every broker has to do, as tests: one function per promise, its sentence as its name. An implementation
//! brings a [`Harness`] and calls [`crate::conformance_tests!`]; it then has one test per promise.
//!
//! ```ignore
//! broker::conformance_tests!(RabbitHarness::start().await);
//! ```
//!
//! Every case has a namespace (a virtual host, a file) of its own, waits on conditions with a deadline and never
//! sleeps. What needs the broker's own process to die (SIGKILL) is the implementation's test; it shares
//! [`every_confirmed_message_is_there`].
//!
//! To add a promise: a function in the file of its kind, and its name in the macro's list.

#![expect(
    clippy::missing_panics_doc,
    reason = "a case panics where the implementation breaks its promise: that is what it is for"
)]

mod announce;
mod durability;
mod fixture;
mod lifecycle;
mod retry;
mod routing;
mod window;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Broker, QueueName};

pub use announce::*;
pub use durability::*;
pub use fixture::{DEADLINE, message, messages};
pub use lifecycle::*;
pub use retry::*;
pub use routing::*;
pub use window::*;

/// One isolated namespace of a broker: a virtual host, a file. Dropped at the end of its case.
pub trait Harness: Send + Sync {
    /// A handle on the namespace: another connection where the implementation has those, else the one that is open.
    fn connect(&self) -> BoxFuture<'_, Arc<dyn Broker>>;

    /// Ends `broker` as the death of its process does: what was not settled stays unsettled. Resolves once
    /// [`Harness::connect`] can give another handle. `broker` and its clones are not used afterwards, but for
    /// deliveries taken from it, whose settlement must fail with [`crate::SettleError::Gone`].
    fn kill(&self, broker: Arc<dyn Broker>) -> BoxFuture<'_, ()>;

    /// Makes the namespace hold `queue` with arguments that [`Broker::declare`] can't accept; `false` where there is
    /// no such thing.
    fn hold_with_other_arguments<'a>(&'a self, queue: &'a QueueName) -> BoxFuture<'a, bool> {
        let _ = queue;
        Box::pin(std::future::ready(false))
    }
}

/// One `#[tokio::test]` per promise, each with a harness of its own. `$harness` is an expression of a type that is a
/// [`conformance::Harness`](crate::conformance::Harness); it may await. The calling crate needs tokio's macros.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests! { @cases $harness;
            a_confirmed_message_is_there_after_its_publisher_died,
            a_message_comes_back_as_it_was_published,
            messages_come_in_the_order_they_were_published,
            a_delivery_dropped_unsettled_comes_back_as_redelivered,
            deliveries_of_a_dead_connection_come_back_as_redelivered,
            deliveries_of_a_closed_broker_come_back,
            an_acked_message_does_not_come_back,
            a_retried_message_returns_to_its_own_queue_and_to_no_other,
            a_retry_waits_for_the_rung_that_is_no_shorter_than_asked,
            a_retry_longer_than_the_ladder_waits_on_its_last_rung,
            a_retry_that_waits_outlives_its_connection,
            a_parked_message_keeps_its_id_and_says_why_and_whence,
            a_requeued_message_comes_back_at_once_with_no_attempt_counted,
            a_message_reaches_every_queue_bound_to_its_key,
            a_message_for_one_queue_reaches_that_one_alone,
            a_message_for_a_queue_that_is_not_there_is_kept,
            an_unroutable_message_is_kept_and_alarmed,
            an_unroutable_message_is_not_attributed_to_its_neighbours,
            an_ack_never_covers_a_lower_delivery_that_was_not_settled,
            prefetch_bounds_what_is_unsettled,
            two_consumers_share_a_queue_without_duplicates,
            depths_count_what_waits_in_the_order_asked,
            a_dropped_subscription_puts_back_what_it_had_buffered,
            declaring_twice_changes_nothing,
            an_undeclared_queue_is_no_such_queue,
            a_closed_broker_answers_every_call_at_once,
            closing_ends_the_subscriptions,
            a_queue_held_with_other_arguments_is_a_conflict,
            a_broker_says_what_it_is,
            an_announcement_reaches_everyone_who_listens,
            a_listener_hears_its_own_topic_alone,
            a_listener_that_does_not_keep_up_holds_nobody_up,
            closing_ends_the_listeners,
        }
    };
    (@cases $harness:expr; $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$case(&$harness).await;
            }
        )*
    };
}
