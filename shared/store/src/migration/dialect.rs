//! What the two databases spell differently.

use sea_orm_migration::sea_orm::DbBackend;

/// A word of a step, how PostgreSQL spells it, and how SQLite does. Types of SQLite are those of its STRICT tables; times
/// are RFC 3339 text in UTC, which sorts like the times do.
const WORDS: [(&str, &str, &str); 10] = [
    ("{uuid}", "uuid", "BLOB"),
    ("{bytes}", "bytea", "BLOB"),
    ("{time}", "timestamptz", "TEXT"),
    ("{json}", "jsonb", "TEXT"),
    ("{int}", "integer", "INTEGER"),
    ("{bigint}", "bigint", "INTEGER"),
    ("{bool}", "boolean", "INTEGER"),
    ("{now}", "now()", "(strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))"),
    ("{true}", "true", "1"),
    // Compared byte by byte, as SQLite compares: what begins with a text is a range of such a column.
    ("{bytewise}", "COLLATE \"C\"", ""),
];

/// Statements that only one of them needs.
const ALONE: [(&str, &str, &str); 2] = [
    ("{outbox bodies uncompressed}", "ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL", ""),
    (
        "{outbox cleared often}",
        "ALTER TABLE outbox SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)",
        "",
    ),
];

/// How a table's storage is set up. `{table}` is the usual one. `{hot table}` leaves room on each page, so that an update
/// stays on it and touches no index. `{queue table}` is emptied as fast as it is filled, so it is vacuumed by the
/// number of dead rows and not by their share.
const STORAGE: [(&str, &str, &str); 3] = [
    ("{table}", "", "STRICT"),
    ("{hot table}", "WITH (fillfactor = 50)", "STRICT, WITHOUT ROWID"),
    (
        "{queue table}",
        "WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, \
         autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000)",
        "STRICT",
    ),
];

/// What a statement begins with that only one of them needs; it is nothing for the other.
const ONLY: [(&str, DbBackend); 2] = [("{postgres only} ", DbBackend::Postgres), ("{sqlite only} ", DbBackend::Sqlite)];

/// `statement` in the words of `backend`.
pub(super) fn render(statement: &str, backend: DbBackend) -> String {
    let only = ONLY.iter().find_map(|(word, whose)| Some((statement.strip_prefix(word)?, *whose)));
    let statement = match only {
        Some((_, whose)) if whose != backend => return String::new(),
        Some((statement, _)) => statement,
        None => statement,
    };
    WORDS.iter().chain(&STORAGE).chain(&ALONE).fold(statement.to_owned(), |sql, (word, postgres, sqlite)| {
        sql.replace(word, if backend == DbBackend::Postgres { postgres } else { sqlite })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_any_step_is_left_unspelt() {
        for step in super::super::steps() {
            for statement in step.statements {
                for backend in [DbBackend::Postgres, DbBackend::Sqlite] {
                    let sql = render(statement, backend);
                    assert!(!sql.contains(['{', '}']), "{}: {sql}", step.name);
                }
            }
        }
    }
}
