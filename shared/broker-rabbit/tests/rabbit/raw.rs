//! A hand of one's own in the broker: lapin without Millpond around it.

use anyhow::Result;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use testkit::rabbit::FreshVhost;

pub(crate) struct Raw {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Raw {
    pub(crate) async fn connect(vhost: &FreshVhost) -> Result<Self> {
        let connection = Connection::connect(vhost.url(), ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { _connection: connection, channel })
    }

    /// Puts a message into a queue by hand.
    pub(crate) async fn put(&self, queue: &str, properties: BasicProperties, body: &[u8]) -> Result<()> {
        let options = BasicPublishOptions::default();
        let confirm = self.channel.basic_publish("".into(), queue.into(), options, body, properties).await?;
        assert_eq!(confirm.await?, Confirmation::Ack(None));
        Ok(())
    }
}
