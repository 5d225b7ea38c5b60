//! Connections that answer in time or fail.
//!
//! The server's own limits (`statement_timeout_ms` and the like) reach nobody whose connection has died without a word: a
//! cut that one side alone has seen, a machine that is gone. Such a call would wait for ever, and hold a place in the pool.

use std::time::Duration;

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use tokio::time::timeout;

/// A connection or pool whose calls fail after a while; as [`DbErr::Conn`], so that it counts as the database's fault.
#[derive(Debug)]
pub struct Bounded<C> {
    inner: C,
    answer_within: Option<Duration>,
}

impl<C> Bounded<C> {
    /// No bound for `None`.
    pub(crate) fn new(inner: C, answer_within: Option<Duration>) -> Self {
        Self { inner, answer_within }
    }

    pub(crate) fn inner(&self) -> &C {
        &self.inner
    }

    pub(crate) fn into_inner(self) -> C {
        self.inner
    }
}

/// `answer`, or an error after `within`. What was asked may have been done all the same.
pub(crate) async fn bounded<T>(
    within: Option<Duration>,
    answer: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    let Some(within) = within else { return answer.await };
    timeout(within, answer).await.unwrap_or_else(|_| {
        let why = format!("no answer within {} ms (answer_timeout_ms): the connection is given up", within.as_millis());
        Err(DbErr::Conn(RuntimeErr::Internal(why)))
    })
}

#[async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Bounded<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        bounded(self.answer_within, self.inner.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        bounded(self.answer_within, self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        bounded(self.answer_within, self.inner.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        bounded(self.answer_within, self.inner.query_all_raw(statement)).await
    }

    fn support_returning(&self) -> bool {
        self.inner.support_returning()
    }
}
