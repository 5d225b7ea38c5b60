//! Short plays, each with the fault that shows a broken promise. Every one is played twice: broken and whole.

use anyhow::Result;
use chaos::oracle::{Change, Poison, PoisonEnd, StockChange, tap};
use failpoint::Point;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{CHECKOUT_QUEUE, SHORT, Stage};

const MUG: [&str; 2] = ["--sku", "MUG"];
const CONFIRMED: &str = "SELECT count(*) AS count FROM orders WHERE state = 'confirmed'";
const RESERVED: &str = "SELECT count(*) AS count FROM orders WHERE state = 'reserved'";
const RELEASED: &str = "SELECT count(*) AS count FROM orders WHERE state = 'released'";

/// Orders that checkout has in hand and can't finish, because another holds its row of stock; then it is killed.
pub(crate) async fn killed_with_orders_in_hand(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.load(100, &MUG).await?;
    stage.until_told_full(CHECKOUT_QUEUE).await?;
    let held = stage.lock("MUG").await?;
    stage.start("checkout").await?;
    stage.until_handed_out(CHECKOUT_QUEUE).await?;
    stage.let_acks_arrive(CHECKOUT_QUEUE).await;
    stage.kill("checkout").await?;
    drop(held);
    Ok(())
}

/// A queue whose operator allows it few messages.
pub(crate) async fn a_queue_that_is_full(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    let few = json!({"max-length": 10});
    stage.broker.set_policy("few", "^millpond\\.checkout\\.main\\.v1$", few).await?;
    stage.load(200, &MUG).await?;
    stage.look().clear_policy("few").await
}

/// Two batches at a time, one order each; the first waits for a lock while others pass it, then checkout is killed.
pub(crate) async fn overtaken_and_killed(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.post("first", "PEN", None).await?;
    stage.load(20, &MUG).await?;
    let held = stage.lock("PEN").await?;
    stage.start("checkout").await?;
    stage.until_count(20, CONFIRMED).await?;
    // Another one after them: when it is done, their acks have left.
    stage.post("last", "MUG", None).await?;
    stage.until_count(21, CONFIRMED).await?;
    stage.kill("checkout").await?;
    drop(held);
    Ok(())
}

/// Somebody removes the binding between the exchange of orders and checkout's queue.
pub(crate) async fn a_binding_that_is_gone(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.look().unbind("millpond.orders.v1", CHECKOUT_QUEUE, "order.placed.main").await?;
    stage.load(30, &MUG).await?;
    // They stay where they are, in plain sight: nothing more will come of them.
    stage.patience = SHORT;
    let unrouted = "millpond.unrouted";
    for message in stage.look().peek(unrouted, 100).await? {
        let (queue, message_id) = (unrouted.to_owned(), message.id);
        stage.poison.push(Poison { queue, message_id, kind: "unrouted".to_owned(), end: PoisonEnd::Parked });
    }
    Ok(())
}

/// Somebody puts what is no order into checkout's queue.
pub(crate) async fn a_message_that_is_no_order(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.start("checkout").await?;
    stage.look().put_by_hand(CHECKOUT_QUEUE, "by-hand", "{ not JSON").await?;
    stage.poisoned("by-hand", "bad JSON");
    stage.load(20, &MUG).await?;
    stage.until_handed_out(CHECKOUT_QUEUE).await
}

/// An accepted order that checkout panics on is parked, and the parker is killed when it has acked it.
pub(crate) async fn a_parker_that_is_killed(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.launch("checkout", Some(Point::PoisonByReference))?;
    let poison = stage.post("poison", "MUG", Some(failpoint::PANIC)).await?;
    stage.poisoned(&poison.to_string(), failpoint::PANIC);
    stage.load(20, &MUG).await?;
    let parked = format!("{CHECKOUT_QUEUE}.parked");
    stage.until_told_full(&parked).await?;
    stage.start("parker").await?;
    stage.until_handed_out(&parked).await?;
    stage.let_acks_arrive(&parked).await;
    stage.kill("parker").await
}

/// Somebody who listens to what is told has a queue that is full, until an operator gives it room.
pub(crate) async fn a_listener_that_is_full(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.start("relay").await?;
    stage.listen().await?;
    let only = |messages: u32| json!({"max-length": messages, "overflow": "reject-publish"});
    let pattern = format!("^{}$", tap::QUEUE.replace('.', "\\."));
    stage.broker.set_policy("few", &pattern, only(1)).await?;
    stage.until_refuses(tap::QUEUE).await?;
    stage.start("checkout").await?;
    stage.load(30, &MUG).await?;
    stage.until_count(30, "SELECT count(*) AS count FROM orders").await?;
    stage.until_relay_has_tried().await?;
    // Room, and not no limit at all: a quorum queue that loses its limit while it refuses goes on refusing. And it looks again
    // when something is taken from it.
    stage.broker.set_policy("few", &pattern, only(10_000)).await?;
    stage.hear().await
}

/// Checkout dies after the commit of orders and before their acks: they are delivered again.
pub(crate) async fn orders_delivered_twice(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.load(100, &MUG).await?;
    stage.launch("checkout", Some(Point::DieAfterCommit))?;
    stage.until_dead("checkout").await
}

/// Analytics dies after the commit of page events and before their acks.
pub(crate) async fn events_delivered_twice(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    let events = ["--events", "batch", "--events-per-request", "20", "--orders-share", "0.5"];
    stage.load(60, &[&MUG[..], &events].concat()).await?;
    stage.launch("analytics", Some(Point::DieAfterCommit))?;
    stage.until_dead("analytics").await
}

/// More orders than units, and no CHECK behind the allocation.
pub(crate) async fn sold_out(stage: &mut Stage) -> Result<()> {
    stage.execute("ALTER TABLE stock DROP CONSTRAINT stock_reserved_within_on_hand").await?;
    stage.start("ingress").await?;
    stage.start("checkout").await?;
    stage.load(50, &["--sku", "RARE"]).await
}

/// Nothing but sales.
pub(crate) async fn a_sale(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.start("checkout").await?;
    stage.load(50, &MUG).await
}

/// Orders are held, and their time goes by; one of them was paid before.
pub(crate) async fn nobody_pays(stage: &mut Stage) -> Result<()> {
    held_beyond_their_time(stage).await.map(drop)
}

/// The same, and one of them is paid when the units of all were given back.
pub(crate) async fn somebody_pays_too_late(stage: &mut Stage) -> Result<()> {
    let late = held_beyond_their_time(stage).await?;
    stage.until_count(11, RELEASED).await?;
    stage.pay(late).await
}

/// Beside sales each kind of change of stock is asked for twice under one key, and no key of the ledger is behind it.
pub(crate) async fn stock_changes_that_are_repeated(stage: &mut Stage) -> Result<()> {
    stage.execute("ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_pkey").await?;
    stage.start("storefront").await?;
    a_sale(stage).await?;
    for (key, change) in [
        ("restock", StockChange::Restock { units: 5 }),
        ("give", StockChange::Give { units: 5 }),
        ("take", StockChange::Take { units: Some(3) }),
        ("count", StockChange::Count { on_hand: 900 }),
    ] {
        stage.change_twice(key, "MUG", change).await?;
    }
    Ok(())
}

/// A refund is asked for twice under one key, and no key of a table is behind it.
pub(crate) async fn a_refund_that_is_repeated(stage: &mut Stage) -> Result<()> {
    for table in ["stock_movements", "order_refunds"] {
        stage.execute(&format!("ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")).await?;
    }
    stage.start("storefront").await?;
    a_sale(stage).await?;
    let refund = Change::Refund { sku: "PEN".to_owned(), units: 1, amount_minor: 900 };
    stage.sell_and_change_twice("refund", "PEN", refund).await
}

/// An order is cancelled, and that once more under the same key. The key that holds a movement once is gone from its table.
pub(crate) async fn a_cancellation_that_is_repeated(stage: &mut Stage) -> Result<()> {
    stage.execute("ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_pkey").await?;
    stage.start("storefront").await?;
    a_sale(stage).await?;
    stage.sell_and_change_twice("cancel", "MUG", Change::Cancel).await
}

/// A page is read, and then what it shows is changed.
pub(crate) async fn a_page_that_changes(stage: &mut Stage) -> Result<()> {
    for role in ["storefront", "relay", "invalidation"] {
        stage.start(role).await?;
    }
    // What the first import said is done before the page is read.
    stage.until_all_is_told().await?;
    stage.change_and_look("MUG").await?;
    stage.until_all_is_told().await
}

/// The exchange that facts go to is deleted under the relay, while checkout waits for a lock: whoever starts later would
/// declare it again.
pub(crate) async fn an_exchange_that_is_gone(stage: &mut Stage) -> Result<()> {
    stage.start("ingress").await?;
    stage.start("relay").await?;
    stage.until_count(1, "SELECT 1 - count(*) AS count FROM outbox").await?;
    stage.start("checkout").await?;
    let held = stage.lock("MUG").await?;
    stage.load(50, &MUG).await?;
    stage.broker.delete_exchange("millpond.facts.v1").await?;
    drop(held);
    stage.until_count(50, "SELECT count(*) AS count FROM orders").await?;
    stage.until_relay_has_tried().await?;
    stage.stop("relay").await
}

/// One that was paid, ten of a journal, and the one that is returned.
async fn held_beyond_their_time(stage: &mut Stage) -> Result<Uuid> {
    for role in ["ingress", "storefront", "checkout"] {
        stage.start(role).await?;
    }
    let in_time = stage.hold("in-time", "PEN").await?;
    stage.pay(in_time).await?;
    let late = stage.hold("late", "PEN").await?;
    stage.load(10, &MUG).await?;
    stage.until_count(11, RESERVED).await?;
    stage.let_their_time_go_by().await?;
    Ok(late)
}
