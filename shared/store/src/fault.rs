//! What a database error means for the work that met it.

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::postgres::PgDatabaseError;
use sea_orm::sqlx::sqlite::SqliteError;
use sea_orm::{DbErr, RuntimeErr, SqlxError};

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
    /// Everything else: wait for the database, or for an operator. A connection that is lost at COMMIT is here too: the
    /// fate of the transaction is unknown, and redelivery and the unique keys decide.
    #[error("the database can't do it now: {0}")]
    Infrastructure(String),
}

/// The constraints whose violation is the data's own fault (or the code's), and not of the moment. A unique key is not
/// among them: what it keeps out was stored before.
pub const POISON_CONSTRAINTS: [&str; 12] = [
    "orders_state_known",
    "orders_reason_when_rejected",
    "orders_expiry_when_reserved",
    "orders_amounts_not_negative",
    "order_lines_quantity_positive",
    "order_lines_price_not_negative",
    "stock_not_negative",
    "stock_reserved_within_on_hand",
    "stock_shortfall_is_real",
    "stock_movements_kind_known",
    "product_prices_amount_not_negative",
    "parked_messages_state_known",
];

/// Serialisation failure, deadlock, lock not available.
const CONTENTION_STATES: [&str; 3] = ["40001", "40P01", "55P03"];

/// Primary result codes of SQLite (the low byte of an extended one), <https://sqlite.org/rescode.html>.
mod sqlite {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    /// A text or blob over the size limit.
    pub(super) const TOOBIG: i32 = 18;
    /// A value of the wrong type for an integer key.
    pub(super) const MISMATCH: i32 = 20;
    /// Extended: a value of the wrong type for a column of a STRICT table.
    pub(super) const CONSTRAINT_DATATYPE: i32 = 3091;
    /// How a violated CHECK is reported; its name follows.
    pub(super) const CHECK_MESSAGE: &str = "CHECK constraint failed: ";
}

impl Fault {
    /// What `error` means. Anything not known here is [`Fault::Infrastructure`].
    pub fn classify(error: &DbErr) -> Self {
        let text = error.to_string();
        let Some(database) = database_error(error) else {
            return Self::Infrastructure(text);
        };
        if let Some(error) = database.try_downcast_ref::<PgDatabaseError>() {
            return Self::of_postgres(error.code(), error.constraint(), text);
        }
        match database.try_downcast_ref::<SqliteError>() {
            Some(error) => Self::of_sqlite(error.code().as_deref(), error.message(), text),
            None => Self::Infrastructure(text),
        }
    }

    fn of_postgres(state: &str, constraint: Option<&str>, text: String) -> Self {
        if CONTENTION_STATES.contains(&state) {
            Self::Contention(text)
        } else if state.starts_with("22") || constraint.is_some_and(|name| POISON_CONSTRAINTS.contains(&name)) {
            Self::Poison(text)
        } else {
            Self::Infrastructure(text)
        }
    }

    fn of_sqlite(code: Option<&str>, message: &str, text: String) -> Self {
        let extended: i32 = code.and_then(|code| code.parse().ok()).unwrap_or(0);
        let check = message.split_once(sqlite::CHECK_MESSAGE).map(|(_, name)| name.trim());
        match extended & 0xff {
            sqlite::BUSY | sqlite::LOCKED => Self::Contention(text),
            sqlite::TOOBIG | sqlite::MISMATCH => Self::Poison(text),
            _ if extended == sqlite::CONSTRAINT_DATATYPE => Self::Poison(text),
            _ if check.is_some_and(|name| POISON_CONSTRAINTS.contains(&name)) => Self::Poison(text),
            _ => Self::Infrastructure(text),
        }
    }
}

impl From<DbErr> for Fault {
    fn from(error: DbErr) -> Self {
        Self::classify(&error)
    }
}

impl From<&DbErr> for Fault {
    fn from(error: &DbErr) -> Self {
        Self::classify(error)
    }
}

/// Whether the connection itself is gone: an IO error, or the server's parting words (57P01 to 57P05).
pub(crate) fn connection_was_lost(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(SqlxError::Io(_)) => true,
        Some(SqlxError::Database(error)) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

/// Whether the server ended a statement that ran for longer than it may (57014).
pub(crate) fn took_too_long(error: &DbErr) -> bool {
    database_error(error).and_then(DatabaseError::code).is_some_and(|code| code == "57014")
}

fn database_error(error: &DbErr) -> Option<&dyn DatabaseError> {
    match driver_error(error)? {
        SqlxError::Database(error) => Some(error.as_ref()),
        _ => None,
    }
}

fn driver_error(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(state: &str, constraint: Option<&str>) -> Fault {
        Fault::of_postgres(state, constraint, String::new())
    }

    fn sqlite(code: &str, message: &str) -> Fault {
        Fault::of_sqlite(Some(code), message, String::new())
    }

    #[test]
    fn only_the_closed_list_is_poison() {
        for state in ["22001", "22003", "22021", "22P02", "22P05"] {
            assert!(matches!(postgres(state, None), Fault::Poison(_)), "{state}");
        }
        for name in POISON_CONSTRAINTS {
            assert!(matches!(postgres("23514", Some(name)), Fault::Poison(_)), "{name}");
        }
        for (state, constraint) in [
            ("23505", Some("orders_pkey")),
            ("23514", Some("added_by_an_operator")),
            ("25006", None),
            ("53100", None),
            ("53300", None),
            ("42703", None),
            ("42P01", None),
            ("28P01", None),
            ("57014", None),
            ("57P01", None),
            ("25P03", None),
            ("XX000", None),
        ] {
            assert!(matches!(postgres(state, constraint), Fault::Infrastructure(_)), "{state}");
        }
    }

    #[test]
    fn a_lock_is_contention() {
        for state in CONTENTION_STATES {
            assert!(matches!(postgres(state, None), Fault::Contention(_)), "{state}");
        }
        for code in ["5", "6", "261", "517", "262"] {
            assert!(matches!(sqlite(code, "database is locked"), Fault::Contention(_)), "{code}");
        }
    }

    #[test]
    fn sqlites_codes_are_read_with_their_extensions() {
        assert!(matches!(sqlite("275", "CHECK constraint failed: stock_shortfall_is_real"), Fault::Poison(_)));
        assert!(matches!(sqlite("275", "CHECK constraint failed: another"), Fault::Infrastructure(_)));
        assert!(matches!(sqlite("3091", "cannot store TEXT value in INTEGER column"), Fault::Poison(_)));
        for code in ["1555", "2067", "13", "8", "10", "11", "14", "1"] {
            assert!(matches!(sqlite(code, "full, read-only, away or broken"), Fault::Infrastructure(_)), "{code}");
        }
    }

    #[test]
    fn an_error_without_a_code_is_infrastructure() {
        let lost = DbErr::Exec(RuntimeErr::SqlxError(std::sync::Arc::new(SqlxError::WorkerCrashed)));
        for error in [lost, DbErr::Custom("22001".to_owned()), DbErr::RecordNotInserted] {
            assert!(matches!(Fault::classify(&error), Fault::Infrastructure(_)));
        }
    }
}
