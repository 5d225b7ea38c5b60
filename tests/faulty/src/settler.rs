//! How a delivery ends, in the steps that RabbitMQ's client takes.

use std::sync::Arc;

use broker::{Settle, SettleError, Settler};
use futures::future::BoxFuture;
use model::Message;

use crate::client::pass;
use crate::plan::{Fault, Step};
use crate::server::Server;
use crate::state::{How, Life, Source};

pub(crate) struct ClientSettler {
    pub(crate) server: Arc<Server>,
    pub(crate) life: Life,
    pub(crate) epoch: u64,
    pub(crate) tag: u64,
    pub(crate) handed_out: u32,
}

impl Settler for ClientSettler {
    fn settle(self: Box<Self>, message: &Message, how: Settle) -> BoxFuture<'_, Result<(), SettleError>> {
        let message = message.clone();
        Box::pin(async move {
            let settlement = Unsettled(Some(&self));
            let settled = match &how {
                Settle::Ack => {
                    pass(&self.server, self.life, Step::Settle).await;
                    self.ack()
                }
                Settle::Requeue => {
                    pass(&self.server, self.life, Step::Settle).await;
                    self.nack()
                }
                Settle::Retry { after, reason } => self.copy(&message, How::Retried { after: *after, reason }).await,
                Settle::Park { reason } => self.copy(&message, How::Parked { reason }).await,
            };
            settlement.done();
            settled
        })
    }

    fn release(self: Box<Self>) {
        self.put_back();
    }
}

impl ClientSettler {
    /// The copy is stored before the original is acked.
    async fn copy(&self, message: &Message, how: How<'_>) -> Result<(), SettleError> {
        let refuse = |why: &str| {
            self.put_back();
            Err(SettleError::Requeued(why.to_owned()))
        };
        let fault = pass(&self.server, self.life, Step::Copy).await;
        if let Err(why) = self.server.takes_copies() {
            return refuse(why);
        }
        if fault == Some(Fault::Refuse) {
            return refuse("the queue is full");
        }
        let Self { life, epoch, tag, handed_out, .. } = *self;
        self.server.store_copy(&Source { life, epoch, tag, handed_out, message }, how);
        match pass(&self.server, self.life, Step::Copied).await {
            Some(Fault::LoseConfirm) => refuse("the confirm did not come"),
            _ => self.ack(),
        }
    }

    fn ack(&self) -> Result<(), SettleError> {
        let told = self.server.settle(self.life, self.epoch, |water| water.ack(self.tag));
        if told { Ok(()) } else { Err(SettleError::Gone) }
    }

    fn nack(&self) -> Result<(), SettleError> {
        if self.put_back() { Ok(()) } else { Err(SettleError::Gone) }
    }

    fn put_back(&self) -> bool {
        self.server.settle(self.life, self.epoch, |water| water.nack(self.tag))
    }
}

/// Gives the delivery back where its settlement is dropped half done.
struct Unsettled<'a>(Option<&'a ClientSettler>);

impl Unsettled<'_> {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if let Some(settler) = self.0 {
            settler.put_back();
        }
    }
}
