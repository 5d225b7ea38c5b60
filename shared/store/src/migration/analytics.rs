//! What analytics has counted, and what it has seen so as to count it once.
//!
//! In the keys of rollups an empty text stands for "none" (no campaign, no path): a null would make a key of its own in
//! every row.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0005_analytics",
    statements: &[
        "CREATE TABLE page_events_seen (
            source text NOT NULL,
            message_id text NOT NULL,
            seen_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (source, message_id)
        ) {table}",
        "CREATE INDEX page_events_seen_by_age ON page_events_seen (seen_at)",
        "CREATE TABLE page_rollups_minute (
            market text NOT NULL,
            minute {time} NOT NULL,
            path text NOT NULL DEFAULT '',
            campaign text NOT NULL DEFAULT '',
            views {bigint} NOT NULL DEFAULT 0,
            events {bigint} NOT NULL DEFAULT 0,
            PRIMARY KEY (market, minute, path, campaign)
        ) {hot table}",
        "CREATE TABLE campaign_visitors_minute (
            market text NOT NULL,
            minute {time} NOT NULL,
            campaign text NOT NULL DEFAULT '',
            sketch {bytes} NOT NULL,
            PRIMARY KEY (market, minute, campaign)
        ) {hot table}",
        "CREATE TABLE revenue_rollups_minute (
            market text NOT NULL,
            minute {time} NOT NULL,
            campaign text NOT NULL DEFAULT '',
            currency text NOT NULL DEFAULT '',
            orders {bigint} NOT NULL DEFAULT 0,
            units {bigint} NOT NULL DEFAULT 0,
            revenue_minor {bigint} NOT NULL DEFAULT 0,
            rejected {bigint} NOT NULL DEFAULT 0,
            PRIMARY KEY (market, minute, campaign, currency)
        ) {hot table}",
        // Kept for ever: an order's outcome counts once, however late it is replayed.
        "CREATE TABLE revenue_seen (
            order_id {uuid} NOT NULL PRIMARY KEY,
            outcome text NOT NULL,
            seen_at {time} NOT NULL DEFAULT {now}
        ) {table}",
        "CREATE TABLE analytics_progress (
            feed text NOT NULL PRIMARY KEY,
            counted_through {time} NOT NULL,
            shed {bigint} NOT NULL DEFAULT 0
        ) {hot table}",
    ],
};
