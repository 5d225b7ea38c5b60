//! What the ingress computes of every order before it publishes it.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use model::{Fingerprint, IdempotencyKey, MarketId, OrderId, RegionNumber};

fn main() {
    let mut criterion =
        Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    criterion = criterion.configure_from_args();
    let market: MarketId = "main".parse().expect("a market id");
    let key: IdempotencyKey = "0b8f7c52-91c4-4e1c-8f1c-5d0e1f2a3b4c".parse().expect("an idempotency key");
    criterion.bench_function("order_id/derive", |bencher| {
        bencher.iter(|| OrderId::derive(RegionNumber(1), black_box(&market), black_box(&key)));
    });
    let fields: [&[u8]; 10] =
        [b"EUR", &[0; 8], &[0; 8], &[0; 8], &[0; 8], b"shop-2026-0000001", b"customer-1", b"SKU-1", &[0; 8], &[0; 8]];
    criterion.bench_function("order_id/fingerprint", |bencher| {
        bencher.iter(|| Fingerprint::of(black_box(fields)));
    });
    criterion.final_summary();
}
