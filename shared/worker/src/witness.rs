//! Who remembers that a suspect ran alone when no code of its process can tell any more.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::MessageId;
use store::{Database, trials};

/// Keeps notes of suspects that run alone, beyond the life of the process that runs them. Every process that takes from a
/// queue needs the same one.
pub trait Witness: Send + Sync {
    /// Notes durably that `message` of `queue` is about to run alone. Gives how often that was noted, this time included,
    /// without a word of its end.
    ///
    /// # Errors
    /// Why nothing can be noted now, in words. Then the message does not run.
    fn begins<'a>(&'a self, queue: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<u32, String>>;

    /// Forgets what was noted: the process lives, or the message does not run again.
    ///
    /// # Errors
    /// Why not, in words. One run more is held against the message then.
    fn ended<'a>(&'a self, queue: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<(), String>>;
}

impl Witness for Database {
    fn begins<'a>(&'a self, queue: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<u32, String>> {
        async move { trials::begin(self, queue, message.as_str()).await.map_err(|error| error.to_string()) }.boxed()
    }

    fn ended<'a>(&'a self, queue: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<(), String>> {
        async move { trials::end(self, queue, message.as_str()).await.map_err(|error| error.to_string()) }.boxed()
    }
}
