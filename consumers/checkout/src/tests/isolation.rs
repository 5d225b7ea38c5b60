//! One bad order harms no other.

use std::sync::atomic::{AtomicUsize, Ordering};

use events::OrderPlaced;
use model::{OrderId, RegionNumber};
use testkit::postgres::FreshDatabase;
use worker::{BatchError, Handler as _, Verdict};

use super::orders::{item, order};
use super::site::{Site, deliver, done, on_both};

on_both!(an_order_of_another_region_is_retried_and_its_neighbours_pass);

async fn an_order_of_another_region_is_retried_and_its_neighbours_pass(site: Site) {
    site.stock("MUG", 10).await;
    let far = RegionNumber(2);
    let mut foreign = order("b", &[("MUG", 1, 100)]);
    foreign.region = far;
    foreign.order_id = OrderId::derive(far, &foreign.market, &foreign.idempotency_key);
    let orders = [order("a", &[("MUG", 1, 100)]), foreign, order("c", &[("MUG", 1, 100)])];
    let (verdicts, _) = deliver(&site.worker().await, &orders).await;
    assert_eq!((&verdicts[0], &verdicts[2]), (&Verdict::Done, &Verdict::Done));
    assert!(matches!(&verdicts[1], Verdict::Later(reason) if reason.contains("belongs to region 2")), "{verdicts:?}");
    assert_eq!(site.states().await.len(), 2);
    assert_eq!(site.reserved("MUG").await, 2);
}

/// A text that JSON carries and PostgreSQL does not: SQLSTATE 22021, class 22.
#[tokio::test]
async fn data_that_can_never_be_stored_is_poison_and_leaves_nothing_behind() {
    let site = Site::postgres().await;
    site.stock("MUG", 10).await;
    let worker = site.worker().await;
    let good = order("good", &[("MUG", 1, 100)]);
    let bad = OrderPlaced { reference: Some("\0".to_owned()), ..order("bad", &[("MUG", 1, 100)]) };
    for batch in [vec![good.clone(), bad.clone()], vec![bad]] {
        let batch: Vec<_> = batch.into_iter().map(item).collect();
        let error = worker.handle(&batch).await.unwrap_err();
        assert!(matches!(error, BatchError::Poison(_)), "{error}");
        assert!(site.states().await.is_empty());
    }
    done(&worker, &[good]).await;
    assert_eq!(site.reserved("MUG").await, 1);
}

#[tokio::test]
async fn a_database_that_is_away_is_infrastructure_and_never_poison() {
    let site = Site::sqlite().await;
    let worker = site.worker().await;
    worker.region.database.close().await;
    let error = worker.handle(&[item(order("a", &[("MUG", 1, 100)]))]).await.unwrap_err();
    assert!(matches!(error, BatchError::Infrastructure(_)), "{error}");
    assert!(worker.probe().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_survive_connections_that_are_cut_in_the_midst_of_transactions() {
    let database = FreshDatabase::create().await.unwrap();
    let site = Site::postgres_at(database.url()).await;
    site.stock("MUG", 10_000).await;
    let workers = [site.worker().await, site.worker().await];
    let finished = AtomicUsize::new(0);
    let serve = async |w: usize| {
        let mut failures = 0;
        for n in 0..60 {
            // Every batch goes to both workers, and each tries until the database has taken it.
            let batch: Vec<_> = (0..5).map(|m| item(order(&format!("{n}-{m}"), &[("MUG", 1, 100)]))).collect();
            while let Err(error) = workers[w].handle(&batch).await {
                assert!(!matches!(error, BatchError::Poison(_)), "{error}");
                failures += 1;
            }
        }
        finished.fetch_add(1, Ordering::SeqCst);
        failures
    };
    let cut = async {
        while finished.load(Ordering::SeqCst) < workers.len() {
            // A server that is short of connections refuses this one too.
            drop(database.cut_connections().await);
        }
    };
    let (first, second, ()) = tokio::join!(serve(0), serve(1), cut);
    assert!(first + second > 0, "something was cut");
    // The site's own connections were cut, too, and the pool tries them only after some idle seconds: look through others.
    let site = Site::postgres_at(database.url()).await;
    assert_eq!(site.reserved("MUG").await, 300);
    assert_eq!(site.told().await, (300, 0));
}
