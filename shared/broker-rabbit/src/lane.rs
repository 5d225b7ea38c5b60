//! The publishing channel of a session.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};

use crate::wire::Outbound;

/// How many returned messages are remembered until their own outcome is due.
const RETURNED: usize = 1_024;

/// The outcome of one publish.
pub(crate) type Confirm = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// The one channel that publishes. One is enough: its frames leave on one socket whatever the number of channels.
pub(crate) struct Lane {
    channel: Arc<Channel>,
    /// For questions.
    aside: Channel,
    /// The most bytes of headers that fit into a frame of this connection beside the other properties. The frame's size is
    /// the least of what the URL, the configuration and the broker say.
    max_headers: usize,
    /// Ids of messages that came back and whose own outcome has not been told.
    returned: Mutex<VecDeque<String>>,
}

impl Lane {
    pub(crate) async fn open(connection: &Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        // Without it lapin resolves every confirm at once, as "not requested".
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let aside = connection.create_channel().await?;
        let max_headers = connection.configuration().frame_max() as usize / 4 * 3;
        Ok(Self { channel: Arc::new(channel), aside, max_headers, returned: Mutex::default() })
    }

    pub(crate) fn max_headers(&self) -> usize {
        self.max_headers
    }

    pub(crate) fn usable(&self) -> bool {
        self.channel.status().connected()
    }

    /// Asks the broker for something that it answers at once and that changes nothing: this channel consumes nothing.
    pub(crate) async fn ask(&self) -> lapin::Result<()> {
        self.aside.basic_qos(1, BasicQosOptions::default()).await
    }

    /// Not sent before it is polled. The frames of one publish are queued in two steps, so whoever polls two of these for
    /// the first time side by side could see them swap places, and each would get the other's confirm: one task does it.
    pub(crate) fn confirm(&self, outbound: Outbound) -> Confirm {
        let channel = Arc::clone(&self.channel);
        Box::pin(async move {
            let Outbound { exchange, routing_key, properties, body } = outbound;
            // Every exchange has an alternate, so nothing ever comes back. `mandatory` is the tripwire for a topology
            // that somebody has damaged.
            let options =
                BasicPublishOptions { mandatory: !failpoint::broken!(NoAlternate), ..BasicPublishOptions::default() };
            channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
        })
    }

    fn returned(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// lapin attaches what came back to whichever confirm is next, so that it says nothing about this one.
    pub(crate) fn remember(&self, came_back: &BasicReturnMessage) {
        let id = came_back.delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            message_id = id,
            exchange = %came_back.delivery.exchange,
            routing_key = %came_back.delivery.routing_key,
            "no queue and no alternate exchange took a message: the topology is damaged, restart Millpond to redeclare"
        );
        let mut returned = self.returned();
        if returned.len() == RETURNED {
            returned.pop_front();
        }
        returned.push_back(id);
    }

    pub(crate) fn came_back(&self, id: &str) -> bool {
        let mut returned = self.returned();
        let at = returned.iter().position(|other| other == id);
        at.is_some_and(|at| returned.remove(at).is_some())
    }
}
