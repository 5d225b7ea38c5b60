//! Who gets the stock, for a batch: all of it in one SKU, or spread over a thousand.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use checkout::allocate::{Basket, allocate};
use criterion::{Criterion, Throughput};
use model::Sku;

fn main() {
    let mut criterion =
        Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    criterion = criterion.configure_from_args();
    for (name, skus) in [("hot", 1), ("spread", 1_000)] {
        for batch in [128_u64, 500] {
            let baskets: Vec<Basket> = (0..batch).map(|n| basket(n, skus)).collect();
            // What is locked for the batch: the SKUs that it names.
            let stock: BTreeMap<Sku, i64> =
                baskets.iter().flat_map(Basket::iter).map(|(sku, _)| (sku.clone(), 1_000_000)).collect();
            let mut group = criterion.benchmark_group("allocate");
            group.throughput(Throughput::Elements(batch));
            group.bench_function(format!("{name}/{batch}"), |bencher| {
                bencher.iter(|| allocate(black_box(&baskets), black_box(&stock)));
            });
            group.finish();
        }
    }
    criterion.final_summary();
}

/// Order number `n`: one unit of a SKU that a fixed stride chooses, so that every run has the same batch.
fn basket(n: u64, skus: u64) -> Basket {
    let sku = format!("SKU-{}", n * 7_919 % skus);
    Basket::merged([(sku.parse().expect("a SKU"), 1)])
}
