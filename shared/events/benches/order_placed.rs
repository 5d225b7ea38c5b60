//! `order.placed` on its way into a message and out of it: the ingress writes it once, checkout reads it once.

use std::hint::black_box;
use std::time::Duration;

use chrono::{DateTime, Utc};
use criterion::{Criterion, Throughput};
use events::{Attribution, Envelope, OrderLine, OrderPlaced, Pricing};
use model::{Currency, Fingerprint, ManualClock, OrderId, RegionNumber};

fn main() {
    let mut criterion =
        Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    criterion = criterion.configure_from_args();
    for lines in [1, 5] {
        let event = order(lines);
        let message = event.to_message();
        let mut group = criterion.benchmark_group("order_placed");
        group.throughput(Throughput::Bytes(message.body.len() as u64));
        group.bench_function(format!("encode/{lines}_lines"), |bencher| {
            bencher.iter(|| black_box(&event).to_message());
        });
        group.bench_function(format!("decode/{lines}_lines"), |bencher| {
            bencher.iter(|| Envelope::<OrderPlaced>::from_message(black_box(&message)));
        });
        group.finish();
    }
    criterion.final_summary();
}

fn order(lines: u32) -> Envelope<OrderPlaced> {
    let now = DateTime::<Utc>::from_timestamp_micros(1_800_000_000_123_456).expect("a time");
    let market = "main".parse().expect("a market id");
    let idempotency_key = "0b8f7c52-91c4-4e1c-8f1c-5d0e1f2a3b4c".parse().expect("an idempotency key");
    let line = |n| OrderLine {
        sku: format!("SKU-{n}").parse().expect("a SKU"),
        quantity: 1.try_into().expect("a quantity"),
        unit_price_minor: 1_450,
    };
    let order = OrderPlaced {
        order_id: OrderId::derive(RegionNumber(1), &market, &idempotency_key),
        market,
        region: RegionNumber(1),
        idempotency_key,
        fingerprint: Fingerprint::of([b"one".as_slice()]),
        accepted_at: now,
        reference: Some("shop-2026-0000000001".to_owned()),
        customer: Some("customer-00000001".parse().expect("a customer")),
        currency: Currency::from_code("EUR").expect("a currency"),
        lines: (0..lines).map(line).collect(),
        shipping_minor: 490,
        tax_minor: 0,
        discount_minor: 0,
        total_minor: 490 + 1_450 * i64::from(lines),
        pricing: Pricing::Shop,
        attribution: Attribution {
            campaign: Some("spring-sale".to_owned()),
            anonymous_id: Some("7d2c1d9e-6b3a-4b3e-9d55-2f8a3c1b0e4f".to_owned()),
        },
    };
    Envelope::new(&ManualClock::at(now), "ingress", order)
        .traced(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()))
}
