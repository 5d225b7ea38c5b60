//! A witness in memory, for as many lives as it is kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::MessageId;
use worker::Witness;

/// Notes of suspects that run alone.
#[derive(Debug, Default)]
pub struct Notes(Mutex<HashMap<(String, MessageId), u32>>);

impl Notes {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<(String, MessageId), u32>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Witness for Notes {
    fn begins<'a>(&'a self, queue: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<u32, String>> {
        let begun = self.with(|notes| {
            let begun = notes.entry((queue.to_owned(), message.clone())).or_default();
            *begun += 1;
            *begun
        });
        async move { Ok(begun) }.boxed()
    }

    fn ended<'a>(&'a self, queue: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<(), String>> {
        self.with(|notes| notes.remove(&(queue.to_owned(), message.clone())));
        async { Ok(()) }.boxed()
    }
}
