//! What a shop's own systems do at a low rate while it sells: they count and lend, and they take payments for units that are
//! held. Nothing new comes once the load has ended, so that what was asked has come to its end well within the rest.

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::oracle::{Evidence, Reserving};
use crate::reservations::Reservations;
use crate::server::Server;
use crate::warehouse::Warehouse;
use crate::world::{HELD_NUMBER, RESERVE, World};

/// All of them.
#[derive(Debug)]
pub(crate) struct Shopkeeping {
    warehouse: Arc<Warehouse>,
    reservations: Arc<Reservations>,
    tasks: JoinSet<()>,
    enough: CancellationToken,
}

impl Shopkeeping {
    /// Begins.
    ///
    /// # Errors
    /// Where the world has no ingress or storefront.
    pub(crate) async fn start(world: &World, seed: u64) -> Result<Self> {
        let (ingress, storefront) = (world.roles.url("ingress").await?, world.roles.url("storefront").await?);
        let server = |key: &str| Server::new(storefront.clone(), key);
        let warehouse = Arc::new(Warehouse::new(server(&world.api_key), World::region().as_str(), seed));
        let held = server(&world.held_key);
        let reservations = Arc::new(Reservations::new(&ingress, &world.held_key, held, seed));
        let (enough, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(Arc::clone(&warehouse).run(enough.clone()));
        tasks.spawn(Arc::clone(&reservations).run(enough.clone()));
        Ok(Self { warehouse, reservations, tasks, enough })
    }

    /// Nothing new from now on.
    pub(crate) fn enough(&self) {
        self.enough.cancel();
    }

    /// Waits for what has no answer yet, for a last chance, and tells the oracle what was asked and answered.
    pub(crate) async fn end(self, evidence: &mut Evidence) {
        self.enough.cancel();
        self.tasks.join_all().await;
        evidence.posted.extend(self.reservations.posted());
        evidence.stock = self.warehouse.asked();
        let held = self.reservations.held();
        evidence.reserving = Some(Reserving { region: HELD_NUMBER, lasts: RESERVE, held });
    }
}
