//! A delivery's way through the embedded broker, by batches as checkout has them: published and confirmed, handed out,
//! settled. A confirm waits for the disk, so this is also what the disk under the temporary folder does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker as _, Delivery, ExchangeName, Publish, QueueName, QueueSpec, Settle, Subscription, Topology};
use broker_embedded::{Config, Embedded};
use bytes::Bytes;
use chrono::DateTime;
use criterion::{Criterion, Throughput};
use futures::future::join_all;
use model::Message;
use tokio::runtime::Runtime;

/// Messages of a batch, and deliveries ahead of their settlement: what checkout has by default.
const BATCH: u16 = 500;
const PREFETCH: u16 = 1_024;
const KEY: &str = "bench";
const BODY_BYTES: usize = 1_024;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    criterion = criterion.configure_from_args();
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broker = runtime.block_on(Embedded::open(folder.path().join("queue"), Config::default())).expect("it opens");
    let (exchange, queue) = (ExchangeName::new("bench.v1"), QueueName::new("bench.one.v1"));
    let spec = QueueSpec { name: queue.clone(), retry_delays: vec![Duration::from_secs(1)] };
    let topology = Topology::default().with_queue(&exchange, spec, [KEY]);
    runtime.block_on(broker.declare(&topology)).expect("it declares");
    let mut deliveries = runtime.block_on(broker.subscribe(&queue, PREFETCH)).expect("it subscribes");

    let mut group = criterion.benchmark_group("embedded");
    group.throughput(Throughput::Elements(u64::from(BATCH)));
    group.bench_function(format!("publish/{BATCH}"), |bencher| {
        bencher.iter_custom(|rounds| runtime.block_on(timed(rounds, &broker, &exchange, &mut deliveries)).published);
    });
    group.bench_function(format!("settle/{BATCH}"), |bencher| {
        bencher.iter_custom(|rounds| runtime.block_on(timed(rounds, &broker, &exchange, &mut deliveries)).settled);
    });
    group.finish();
    criterion.final_summary();
    drop(deliveries);
    runtime.block_on(broker.close());
}

#[derive(Default)]
struct Times {
    published: Duration,
    settled: Duration,
}

/// Rounds of publish, take, settle; each part's time by itself.
async fn timed(rounds: u64, broker: &Arc<Embedded>, exchange: &ExchangeName, from: &mut Subscription) -> Times {
    let mut times = Times::default();
    for round in 0..rounds {
        let batch = (0..BATCH).map(|n| publish(exchange, &format!("{round}-{n}"))).collect();
        let begin = Instant::now();
        let outcomes = broker.publish(batch).await;
        times.published += begin.elapsed();
        assert!(outcomes.iter().all(Result::is_ok), "every publish is confirmed: {outcomes:?}");
        let mut taken: Vec<Delivery> = Vec::with_capacity(BATCH.into());
        while taken.len() < BATCH.into() {
            taken.push(from.next().await.expect("the broker is open"));
        }
        let begin = Instant::now();
        let settled = join_all(taken.into_iter().map(|delivery| delivery.settle(Settle::Ack))).await;
        times.settled += begin.elapsed();
        assert!(settled.iter().all(Result::is_ok), "every delivery is settled: {settled:?}");
    }
    times
}

fn publish(exchange: &ExchangeName, id: &str) -> Publish {
    let message = Message {
        id: id.parse().expect("a message id"),
        kind: "bench".to_owned(),
        timestamp: DateTime::UNIX_EPOCH,
        content_type: "application/json".to_owned(),
        headers: [].into(),
        transient: false,
        body: Bytes::from_static(&[b'x'; BODY_BYTES]),
    };
    Publish { exchange: exchange.clone(), routing_key: KEY.to_owned(), message }
}
