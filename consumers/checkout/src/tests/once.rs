//! Whatever is delivered, however often, takes effect once.

use events::{OrderPlaced, Rejection};
use futures::future::join_all;
use model::Fingerprint;
use worker::{Handler as _, Verdict};

use super::orders::{REGION, item, order};
use super::site::{GRACE, Site, cut_off, deliver, done, on_both};

on_both!(
    the_same_order_twice_in_one_batch_moves_stock_once,
    the_same_order_in_two_batches_moves_stock_once,
    the_same_order_at_two_workers_at_once_moves_stock_once,
    a_key_used_for_another_order_leaves_the_first_one_standing,
    an_order_that_is_cut_off_anywhere_and_delivered_again_takes_effect_once,
    a_rejected_order_stays_rejected_when_stock_comes_back,
);

fn mug(key: &str) -> OrderPlaced {
    order(key, &[("MUG", 2, 100)])
}

async fn assert_once(site: &Site, orders: i64) {
    assert_eq!(site.reserved("MUG").await, 2 * orders);
    assert_eq!(site.states().await.len(), usize::try_from(orders).unwrap());
    assert!(site.states().await.values().all(|state| state == "confirmed"));
    assert_eq!(site.told().await, (usize::try_from(orders).unwrap(), 0));
    assert_eq!(site.number("SELECT CAST(count(*) AS bigint) AS n FROM order_lines").await, orders);
}

async fn the_same_order_twice_in_one_batch_moves_stock_once(site: Site) {
    site.stock("MUG", 50).await;
    done(&site.worker().await, &[mug("a"), mug("b"), mug("a")]).await;
    assert_once(&site, 2).await;
}

async fn the_same_order_in_two_batches_moves_stock_once(site: Site) {
    site.stock("MUG", 50).await;
    let worker = site.worker().await;
    done(&worker, &[mug("a"), mug("b")]).await;
    done(&worker, &[mug("b"), mug("c"), mug("a")]).await;
    done(&site.worker().await, &[mug("a")]).await;
    assert_once(&site, 3).await;
}

async fn the_same_order_at_two_workers_at_once_moves_stock_once(site: Site) {
    site.stock("MUG", 500).await;
    let workers = [site.worker().await, site.worker().await, site.worker().await];
    for round in 0..10 {
        let mut orders: Vec<OrderPlaced> = (0..5).map(|n| mug(&format!("{round}-{n}"))).collect();
        // Each worker has them in another order.
        let batches: Vec<Vec<OrderPlaced>> = (0..workers.len())
            .map(|_| {
                orders.rotate_left(2);
                orders.clone()
            })
            .collect();
        join_all(workers.iter().zip(&batches).map(|(worker, batch)| done(worker, batch))).await;
    }
    assert_once(&site, 50).await;
}

async fn a_key_used_for_another_order_leaves_the_first_one_standing(site: Site) {
    site.stock("MUG", 50).await;
    let worker = site.worker().await;
    let greedy = || order("a", &[("MUG", 9, 100)]);
    assert_ne!(greedy().fingerprint, mug("a").fingerprint);
    done(&worker, &[mug("a"), greedy()]).await;
    done(&worker, &[greedy(), mug("b")]).await;
    assert_once(&site, 2).await;
    let stored = site.number("SELECT total_minor AS n FROM orders WHERE idempotency_key = 'a'").await;
    assert_eq!(stored, mug("a").total_minor);

    let conflicting = [super::orders::event(greedy()), super::orders::event(mug("b"))];
    let checked = conflicting.each_ref().map(|event| crate::intake::check(event, REGION).unwrap());
    let effect = crate::batch::store(&worker.region, &checked, crate::batch::Terms { grace: GRACE, reserve_s: 0 })
        .await
        .unwrap();
    assert_eq!((effect.stored, effect.conflicts), (vec![], vec![greedy().order_id]), "an equal copy is no conflict");

    // The status endpoint tells the second poster by the fingerprint in their token.
    let tx = worker.region.database.begin().await.unwrap();
    let found = crate::sql::fingerprints(&*tx, [mug("a").order_id]).await.unwrap();
    let stored: Fingerprint = found[&mug("a").order_id];
    assert!(stored == mug("a").fingerprint && stored != greedy().fingerprint);
}

async fn an_order_that_is_cut_off_anywhere_and_delivered_again_takes_effect_once(site: Site) {
    site.stock("MUG", 1_000).await;
    let worker = site.worker().await;
    let mut finished = 0;
    // One wait later each time: before the first statement, between any two, after the commit was sent.
    for cut in 0..60 {
        let order = mug(&format!("cut-{cut}"));
        let batch = [item(order.clone())];
        match cut_off(worker.handle(&batch), cut).await {
            None => {}
            Some(Ok(_)) => finished += 1,
            Some(Err(error)) => println!("after the cut before: {error}"),
        }
        done(&worker, &[order.clone(), order]).await;
    }
    assert!((1..60).contains(&finished), "some are cut off, some are not: {finished}");
    assert_once(&site, 60).await;
}

async fn a_rejected_order_stays_rejected_when_stock_comes_back(site: Site) {
    site.stock("MUG", 1).await;
    let worker = site.worker().await;
    done(&worker, &[mug("a")]).await;
    site.execute("UPDATE stock SET on_hand = 100", []).await;
    let (verdicts, _) = deliver(&worker, &[mug("a"), mug("b")]).await;
    assert_eq!(verdicts, [Verdict::Done, Verdict::Done]);
    assert_eq!(site.states().await["a"], "rejected");
    assert_eq!(site.states().await["b"], "confirmed");
    assert_eq!(site.reserved("MUG").await, 2);
    assert_eq!(site.told().await, (1, 1));
    let reasons =
        site.texts("SELECT idempotency_key AS k, CAST(reason AS text) AS v FROM orders WHERE state = 'rejected'");
    let reason: Rejection = serde_json::from_str(&reasons.await["a"]).unwrap();
    assert_eq!(reason.code(), "out_of_stock");
}
