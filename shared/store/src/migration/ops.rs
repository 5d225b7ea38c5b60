//! What operators did, and which queues they paused.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0009_ops",
    statements: &[
        "CREATE TABLE operator_audit (
            id {uuid} NOT NULL PRIMARY KEY,
            at {time} NOT NULL DEFAULT {now},
            operator text NOT NULL,
            action text NOT NULL,
            target text NOT NULL,
            detail {json} NOT NULL
        ) {table}",
        "CREATE INDEX operator_audit_by_time ON operator_audit (at, id)",
        // A queue that is not here is not paused.
        "CREATE TABLE queue_pauses (
            queue text NOT NULL PRIMARY KEY,
            paused_by text NOT NULL,
            reason text,
            since {time} NOT NULL DEFAULT {now}
        ) {table}",
    ],
};
