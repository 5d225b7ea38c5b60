//! Confirmed publishes with a sliding window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};

use crate::{BODY_BYTES, QUEUE, Rate};

/// Written to disk before it is confirmed.
const PERSISTENT: u8 = 2;

/// Publishes for so long, with `window` confirms awaited at once, and waits for the last ones.
pub(crate) async fn run(connection: &Connection, window: usize, lasting: Duration) -> Result<Rate> {
    let mut lane = Lane::open(connection, window).await?;
    let begin = Instant::now();
    while begin.elapsed() < lasting {
        lane.publish().await?;
    }
    let messages = lane.finish().await?;
    Ok(Rate { messages, took: begin.elapsed() })
}

/// Puts so many messages into the queue.
pub(crate) async fn fill(connection: &Connection, messages: u64) -> Result<()> {
    let mut lane = Lane::open(connection, 1_024).await?;
    for _ in 0..messages {
        lane.publish().await?;
    }
    lane.finish().await?;
    Ok(())
}

/// A channel whose publishes are confirmed.
pub(crate) async fn publisher(connection: &Connection) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Sends one message; its confirm is to be awaited.
pub(crate) async fn send(channel: &Channel) -> Result<PublisherConfirm> {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let options = BasicPublishOptions::default();
    Ok(channel.basic_publish("".into(), QUEUE.into(), options, &[b'x'; BODY_BYTES], properties).await?)
}

struct Lane {
    channel: Channel,
    window: usize,
    awaited: VecDeque<PublisherConfirm>,
    confirmed: u64,
}

impl Lane {
    async fn open(connection: &Connection, window: usize) -> Result<Self> {
        let awaited = VecDeque::with_capacity(window);
        Ok(Self { channel: publisher(connection).await?, window: window.max(1), awaited, confirmed: 0 })
    }

    /// Sends one, once there is room for it in the window.
    async fn publish(&mut self) -> Result<()> {
        if self.awaited.len() == self.window {
            self.oldest().await?;
        }
        self.awaited.push_back(send(&self.channel).await?);
        Ok(())
    }

    async fn oldest(&mut self) -> Result<()> {
        let confirm = self.awaited.pop_front().context("a confirm is awaited")?.await?;
        ensure!(confirm == Confirmation::Ack(None), "a publish was not confirmed: {confirm:?}");
        self.confirmed += 1;
        Ok(())
    }

    async fn finish(mut self) -> Result<u64> {
        while !self.awaited.is_empty() {
            self.oldest().await?;
        }
        self.channel.close(200, "done".into()).await?;
        Ok(self.confirmed)
    }
}
