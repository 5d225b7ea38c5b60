//! Where leases are kept: in the database's own table, or, for a SQLite file, which is one process's own, in memory. There
//! a lease would be a commit of every second on the file's only writer, for nobody else to read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow::Budget;
use sea_orm::DbErr;
use store::governor::{self, Lease, View};
use store::{Backend, Database};
use tokio::time::Instant;
use uuid::Uuid;

/// The leases on one database.
#[derive(Debug)]
pub(super) struct Ledger {
    database: Arc<Database>,
    /// SQLite's, each with when it runs out.
    memory: Mutex<BTreeMap<Uuid, (Lease, Instant)>>,
}

impl Ledger {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database, memory: Mutex::default() }
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// As [`governor::renew`].
    pub(super) async fn renew(
        &self,
        id: Uuid,
        lease: Duration,
        take: impl FnOnce(&View) -> Lease,
    ) -> Result<(View, Lease), DbErr> {
        if self.database.backend() == Backend::Postgres {
            return governor::renew(&self.database, id, lease, take).await;
        }
        let budget = governor::budget(&self.database).await?;
        let mut leases = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        leases.retain(|_, (_, until)| *until > now);
        let others = leases.iter().filter(|(other, _)| **other != id).map(|(_, (lease, _))| *lease).collect();
        let view = View { budget, others };
        let mine = take(&view);
        leases.insert(id, (mine, now + lease));
        Ok((view, mine))
    }

    /// As [`governor::leave`].
    pub(super) async fn leave(&self, id: Uuid) -> Result<(), DbErr> {
        if self.database.backend() == Backend::Postgres {
            return governor::leave(&self.database, id).await;
        }
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Ok(())
    }

    /// As [`governor::budget`].
    pub(super) async fn written_budget(&self) -> Result<Option<Budget>, DbErr> {
        governor::budget(&self.database).await
    }
}
