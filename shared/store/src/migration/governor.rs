//! What a database is given per second, and who has which share of it.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0007_governor",
    statements: &[
        // The one row is also the lock under which shares are taken. No budget: what the configuration says.
        "CREATE TABLE governor (
            id {int} NOT NULL PRIMARY KEY,
            budget text,
            changed_at {time} NOT NULL DEFAULT {now}
        ) {hot table}",
        "INSERT INTO governor (id) VALUES (1)",
        // Shares, demands and factors are parts of a million.
        "CREATE TABLE governor_lease (
            id {uuid} NOT NULL PRIMARY KEY,
            rank text NOT NULL,
            demand {int} NOT NULL,
            share {int} NOT NULL,
            factor {int} NOT NULL,
            renewed_at {time} NOT NULL,
            expires_at {time} NOT NULL
        ) {hot table}",
    ],
};
