//! Messages that are suspected of taking processes down, while they run alone.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0014_trials",
    statements: &["CREATE TABLE message_trials (
            queue text NOT NULL,
            message_id text NOT NULL,
            begun {int} NOT NULL DEFAULT 1,
            since {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (queue, message_id)
        ) {table}"],
};
