//! Reservations, and what becomes of orders and stock after the sale.

use anyhow::{Context as _, Result, ensure};
use sea_orm::{ConnectionTrait as _, EntityTrait as _};
use serde_json::{Value, json};
use store::entity::revenue_rollup;
use testkit::http::Response;
use testkit::wait;

use crate::shop::{Parts, Shop};

/// Units are held for an hour: nobody's time is up before the test says so.
const RESERVING: &str = "[checkout]\nreserve_s = 3600\n[checkout.expiry]\ninterval_ms = 50\n";

impl Shop {
    /// A change by the shop's own system.
    async fn change(&self, path: &str, key: &str, body: &Value) -> Result<Response> {
        self.http.post(&self.storefront(path), &self.api_key, &[("idempotency-key", key)], body).await
    }

    /// What is asked of an order whose status is at `status`.
    async fn ask(&self, status: &str, what: &str, body: &Value) -> Result<Response> {
        let order = status.split('?').next().unwrap_or_default();
        self.change(&format!("{order}/{what}"), &format!("{what} {order}"), body).await
    }

    async fn state_becomes(&self, status: &str, state: &str) -> Result<Value> {
        let url = self.storefront(status);
        wait::until(&format!("the order is {state}"), || async {
            let view = self.http.get(&url).await.ok()?.json();
            (view["state"] == state).then_some(view)
        })
        .await
        .with_context(|| self.logs())
    }

    /// The time of every reservation is up.
    async fn hours_pass(&self) -> Result<()> {
        let database = &self.databases.databases()[0];
        let tx = database.begin().await?;
        let sql = "UPDATE orders SET expires_at = '2020-01-01T00:00:00.000+00:00' WHERE state = 'reserved'";
        tx.execute_raw(database.statement(sql, [])).await?;
        Ok(tx.commit().await?)
    }

    /// Orders and minor units that count as sold, once they are these.
    async fn sold(&self, orders: i64, revenue_minor: i64) -> Result<()> {
        let db = self.databases.databases()[0].read();
        wait::until(&format!("{orders} orders are counted as sold"), || async {
            let rows = revenue_rollup::Entity::find().all(db).await.ok()?;
            let sum = rows.iter().fold((0, 0), |(orders, minor), row| (orders + row.orders, minor + row.revenue_minor));
            (sum == (orders, revenue_minor)).then_some(())
        })
        .await
        .with_context(|| self.logs())
    }
}

pub(crate) async fn units_that_are_not_paid_in_time_are_sold_to_somebody_else(parts: Parts) -> Result<()> {
    let mut shop = Shop::open_with(parts, &[("MUG", 3)], RESERVING).await?;
    let late = shop.accepted_order("late", "MUG", 2).await?;
    let held = shop.state_becomes(&late, "reserved").await?;
    ensure!(held["terminal"] == false && held["expires_at"].is_string(), "{held}");
    let turned_away = shop.accepted_order("turned away", "MUG", 2).await?;
    assert_eq!(shop.outcome(&turned_away).await?["reason"]["code"], "out_of_stock");
    let prompt = shop.accepted_order("prompt", "MUG", 1).await?;
    shop.state_becomes(&prompt, "reserved").await?;
    let paid = shop.ask(&prompt, "pay", &json!({})).await?;
    assert_eq!((paid.status.as_u16(), &paid.json()["state"]), (200, &json!("confirmed")), "{}", paid.json());
    let again = shop.ask(&prompt, "pay", &json!({})).await?;
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", paid.json()));

    shop.hours_pass().await?;
    assert_eq!(shop.outcome(&late).await?["state"], "released");
    assert_eq!(shop.stock("MUG").await?, (3, 1));
    let too_late = shop.ask(&late, "pay", &json!({})).await?;
    assert_eq!((too_late.status.as_u16(), &too_late.json()["code"]), (409, &json!("order_released")));

    let somebody = shop.accepted_order("somebody else", "MUG", 2).await?;
    shop.state_becomes(&somebody, "reserved").await?;
    assert_eq!(shop.ask(&somebody, "pay", &json!({})).await?.status, 200);
    shop.sold(2, 3_000).await?;
    assert_eq!(shop.outcome(&somebody).await?["state"], "confirmed");
    assert_eq!(shop.stock("MUG").await?, (3, 3));
    shop.stop().await
}

pub(crate) async fn what_a_shop_does_after_the_sale_moves_stock_and_revenue_once(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let mut orders = Vec::new();
    for key in ["cancelled", "shipped"] {
        let status = shop.accepted_order(key, "MUG", 2).await?;
        assert_eq!(shop.outcome(&status).await?["state"], "confirmed");
        orders.push(status);
    }
    shop.sold(2, 4_000).await?;
    let lines = json!({"lines": [{"sku": "MUG", "quantity": 1, "restock": true, "amount_minor": 1_000}]});
    for _ in 0..3 {
        assert_eq!(shop.ask(&orders[0], "cancel", &json!({})).await?.status, 200);
        assert_eq!(shop.ask(&orders[1], "ship", &json!({})).await?.status, 200);
        assert_eq!(shop.ask(&orders[1], "refunds", &lines).await?.status, 200);
        let restocked = shop.change("/v1/stock/MUG/restock", "delivery 7", &json!({"units": 5})).await?;
        assert_eq!(restocked.json()["on_hand"], 14, "8 after the shipment, 9 after the refund: {}", restocked.json());
    }
    shop.sold(1, 1_000).await?;
    shop.state_becomes(&orders[0], "released").await?;
    assert_eq!(shop.stock("MUG").await?, (14, 0));

    let unknown = shop.http.get(&shop.storefront("/v1/stock/MUG")).await?;
    let told = unknown.json();
    assert_eq!((unknown.status.as_u16(), &told["availability"]), (200, &json!("in")), "{told}");
    assert!(told.get("on_hand").is_none() && told.get("reserved").is_none(), "numbers are for who has a key: {told}");
    shop.until_decided(2).await?;
    shop.stop().await
}
