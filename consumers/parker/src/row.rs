//! Rows of `parked_messages` as messages again.

use model::{Message, headers};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult as _, QueryResult};
use store::Database;
use store::entity::parked_message::Model;

use chrono::{DateTime, Utc};

/// A row, whole.
pub(crate) fn read(row: &QueryResult) -> Result<Model, DbErr> {
    Model::from_query_result(row, "")
}

/// The message that a row keeps, as its consumer would get it: no attempt is spent, and nobody has parked it.
pub(crate) fn message(row: &Model) -> Result<Message, DbErr> {
    let unreadable = |why: String| DbErr::Custom(format!("the parked message {} can't be read: {why}", row.message_id));
    let mut all: std::collections::BTreeMap<String, String> =
        serde_json::from_value(row.headers.clone()).map_err(|error| unreadable(error.to_string()))?;
    for spent in [headers::ATTEMPT, headers::REASON, headers::SUSPICION] {
        all.remove(spent);
    }
    Ok(Message {
        id: row.own_id.parse().map_err(|error: model::TextError| unreadable(error.to_string()))?,
        kind: row.kind.clone(),
        timestamp: row.published_at,
        content_type: row.content_type.clone(),
        headers: all,
        transient: false,
        body: row.body.clone().into(),
    })
}

/// The database's time. Leases and paces are reckoned with it alone.
pub(crate) async fn now(database: &Database, connection: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
    let sql = format!("SELECT {} AS now", database.backend().now_sql());
    let row = connection.query_one_raw(database.statement(sql, [])).await?;
    row.ok_or_else(|| DbErr::Custom("the database does not tell the time".to_owned()))?.try_get("", "now")
}
