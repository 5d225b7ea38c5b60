//! What a database error means for the work that met it.

/// The three answers to a failed statement. Poison is a *closed* list: whatever is not on it is infrastructure, because
/// parking an order for a full disk or a failover would lose it for the customer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The data can never be stored: SQLSTATE class 22, or a constraint that the schema names for it.
    #[error("the data can't be stored: {0}")]
    Poison(String),
    /// Another transaction was in the way (40001, 40P01, 55P03; SQLite's `BUSY` and `LOCKED`): try the batch again.
    #[error("another transaction was in the way: {0}")]
    Contention(String),
    /// Everything else: wait for the database, or for an operator.
    #[error("the database can't do it now: {0}")]
    Infrastructure(String),
}
