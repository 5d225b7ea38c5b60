//! What the shop's own server asks of orders and of stock, as it does in a run of faults.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos::after_sale;
use chaos::oracle::{Asked, Change, Held, Payment, Reserving, StockAsked, StockChange};
use chaos::server::Server;
use chaos::warehouse;
use http::Method;
use serde_json::{Value, json};
use testkit::http::Response;
use uuid::Uuid;

use super::Stage;

/// How long units are held for a payment (`checkout.reserve_s` of `HOLDS`): longer than any play, so that none is late by chance.
const HELD_FOR: Duration = Duration::from_hours(1);

impl Stage {
    /// Posts an order of one unit, which is taken and then held for its payment; its id.
    pub(crate) async fn hold(&mut self, key: &str, sku: &str) -> Result<Uuid> {
        let (order, status_path) = self.order(key, sku, 1, None).await?;
        self.held.push(Held { order, status_path, payment: Payment::None });
        Ok(order)
    }

    /// Says that an order which is held was paid, and notes the answer.
    pub(crate) async fn pay(&mut self, order: Uuid) -> Result<()> {
        let (path, key) = (format!("/v1/orders/{order}/pay"), format!("pay-{order}"));
        let answer = self.ask(&Method::POST, &path, &key, &json!({})).await?;
        let payment = if answer.status.is_success() { Payment::Made } else { Payment::Refused };
        for held in self.held.iter_mut().filter(|held| held.order == order) {
            held.payment = payment;
        }
        Ok(())
    }

    /// Makes the orders that are held so much older that their time is up, by the database's clock.
    pub(crate) async fn let_their_time_go_by(&self) -> Result<()> {
        let time = format!("make_interval(secs => {})", HELD_FOR.as_secs());
        let sql = format!(
            "UPDATE orders SET created_at = created_at - {time}, expires_at = expires_at - {time} \
             WHERE state = 'reserved'"
        );
        self.execute(&sql).await
    }

    /// Asks for a change of stock, and once more under the same key.
    pub(crate) async fn change_twice(&mut self, key: &str, sku: &str, change: StockChange) -> Result<()> {
        let (method, path, body) = warehouse::request(sku, &change);
        let reference = format!("main/{key}");
        let mut asked = StockAsked { sku: sku.to_owned(), reference, change, answers: Vec::new() };
        for _ in 0..2 {
            let answer = self.ask(&method, &path, key, &body).await?;
            let level = warehouse::level(&answer.json());
            asked.answers.push(level.with_context(|| format!("{path}: {}", answer.json()))?);
        }
        self.stock.push(asked);
        Ok(())
    }

    /// Sells two units, takes the order back in part or whole, and asks for that once more under the same key.
    pub(crate) async fn sell_and_change_twice(&mut self, key: &str, sku: &str, change: Change) -> Result<()> {
        let (order, status_path) = self.order(key, sku, 2, None).await?;
        let (what, body) = after_sale::request(&change);
        let path = format!("/v1/orders/{order}/{what}");
        for _ in 0..2 {
            let answer = self.ask(&Method::POST, &path, key, &body).await?;
            ensure!(answer.status.is_success(), "{path}: {}", answer.json());
        }
        self.asked.push(Asked { order, status_path, key: key.to_owned(), change, answered: true });
        Ok(())
    }

    /// The region, where units are held.
    pub(super) fn reserving(&self) -> Option<Reserving> {
        let reserving = Reserving { region: 1, lasts: HELD_FOR, held: self.held.clone() };
        (!self.held.is_empty()).then_some(reserving)
    }

    /// Asks until there is an answer that stays.
    async fn ask(&self, method: &Method, path: &str, key: &str, body: &Value) -> Result<Response> {
        let storefront = self.storefront.clone().context("a storefront that was started")?;
        let server = Server::new(storefront, &self.api_key);
        server.ask(method, path, key, body).await.with_context(|| format!("no answer to {path}"))
    }
}
