//! Messages on their way out, and messages put aside.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0004_outbox",
    statements: &[
        // `claimed_until` is SQLite's alone: PostgreSQL's claim is a row lock (see `outbox`).
        "CREATE TABLE outbox (
            id {uuid} NOT NULL PRIMARY KEY,
            exchange text NOT NULL,
            routing_key text NOT NULL,
            kind text NOT NULL,
            content_type text NOT NULL,
            headers {json} NOT NULL,
            body {bytes} NOT NULL,
            occurred_at {time} NOT NULL,
            created_at {time} NOT NULL DEFAULT {now},
            claimed_until {time}
        ) {queue table}",
        "CREATE TABLE parked_messages (
            queue text NOT NULL,
            message_id text NOT NULL,
            kind text NOT NULL,
            reason text NOT NULL,
            content_type text NOT NULL,
            headers {json} NOT NULL,
            body {bytes} NOT NULL,
            published_at {time} NOT NULL,
            state text NOT NULL DEFAULT 'open',
            times {int} NOT NULL DEFAULT 1,
            first_parked_at {time} NOT NULL DEFAULT {now},
            last_parked_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (queue, message_id),
            CONSTRAINT parked_messages_state_known CHECK (state IN ('open', 'replayed', 'discarded', 'closed'))
        ) {table}",
    ],
};
