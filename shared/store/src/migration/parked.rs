//! Parked messages as operators work on them: grouped, replayed at a rate, closed once their effect exists.
//!
//! The table of step 4 is made anew: no release has written into it, and SQLite can't widen a CHECK.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0010_parked",
    statements: &[
        "DROP TABLE parked_messages",
        // `message_id` is the key within the queue, `own_id` what the message itself says: they differ where two different
        // messages of one queue say the same.
        "CREATE TABLE parked_messages (
            queue text NOT NULL,
            message_id text NOT NULL,
            own_id text NOT NULL,
            digest {bytes} NOT NULL,
            kind text NOT NULL,
            reason text NOT NULL,
            reason_key text NOT NULL,
            content_type text NOT NULL,
            headers {json} NOT NULL,
            body {bytes} NOT NULL,
            published_at {time} NOT NULL,
            state text NOT NULL DEFAULT 'open',
            times {int} NOT NULL DEFAULT 1,
            first_parked_at {time} NOT NULL DEFAULT {now},
            last_parked_at {time} NOT NULL DEFAULT {now},
            replays {int} NOT NULL DEFAULT 0,
            replay_id {uuid},
            claimed_until {time},
            replayed_at {time},
            ended_at {time},
            note text,
            checked_at {time},
            PRIMARY KEY (queue, message_id),
            CONSTRAINT parked_messages_state_known
                CHECK (state IN ('open', 'replaying', 'replayed', 'discarded', 'closed'))
        ) {table}",
        "CREATE INDEX parked_messages_by_group ON parked_messages (queue, kind, reason_key, last_parked_at)
            WHERE state IN ('open', 'replaying', 'replayed')",
        "CREATE INDEX parked_messages_to_replay ON parked_messages (replay_id, first_parked_at)
            WHERE state = 'replaying'",
        "CREATE INDEX parked_messages_to_check ON parked_messages (checked_at) WHERE state IN ('open', 'replayed')",
        "CREATE INDEX parked_messages_ended ON parked_messages (ended_at) WHERE state IN ('discarded', 'closed')",
        // A replay under way. Its pace is kept here, so that any number of parkers together keep it.
        "CREATE TABLE parked_replays (
            id {uuid} NOT NULL PRIMARY KEY,
            operator text NOT NULL,
            messages {bigint} NOT NULL,
            pace_us {bigint} NOT NULL,
            paced_at {time} NOT NULL,
            requested_at {time} NOT NULL DEFAULT {now}
        ) {table}",
    ],
};
