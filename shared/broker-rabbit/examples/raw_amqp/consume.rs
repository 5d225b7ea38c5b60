//! Consumption of a backlog.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use lapin::Connection;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;

use crate::{QUEUE, Rate, publish};

/// What checkout has by default: deliveries ahead of their settlement, and messages of one batch.
const PREFETCH: u16 = 1_024;
const BATCH: u64 = 500;

/// Fills the queue with so many messages, then takes them out; the time is from the first to the last.
pub(crate) async fn run(connection: &Connection, messages: u64) -> Result<Rate> {
    publish::fill(connection, messages).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = channel.basic_consume(QUEUE.into(), "raw".into(), options, none).await?;
    let mut begin = None;
    for taken in 1..=messages {
        let delivery = deliveries.next().await.context("the consumer goes on")??;
        begin.get_or_insert_with(Instant::now);
        if taken % BATCH == 0 || taken == messages {
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: true }).await?;
        }
    }
    let took = begin.context("MESSAGES is above 0")?.elapsed();
    channel.close(200, "done".into()).await?;
    Ok(Rate { messages, took })
}
