//! Stock per region and SKU, and every movement of it.
//!
//! # Never oversold, and a shortfall is shown
//! An allocation may raise `reserved` up to `on_hand` and no further: `stock_reserved_within_on_hand` is the last line of
//! defence behind the allocator. Yet a warehouse that counts fewer units than are reserved is telling the truth, and its
//! count must be stored. So the missing units are named: `shortfall` is 0, or exactly `reserved - on_hand`
//! (`stock_shortfall_is_real`). Whoever changes `on_hand`, or lowers `reserved`, restates it as
//! `max(reserved - on_hand, 0)`; whoever raises `reserved` never touches it, and so can't hide an oversale in it.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0002_stock",
    statements: &[
        "CREATE TABLE stock (
            region {int} NOT NULL,
            sku text NOT NULL,
            on_hand {bigint} NOT NULL,
            reserved {bigint} NOT NULL DEFAULT 0,
            shortfall {bigint} NOT NULL DEFAULT 0,
            low_threshold {bigint} NOT NULL DEFAULT 10,
            version {bigint} NOT NULL DEFAULT 1,
            updated_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (region, sku),
            CONSTRAINT stock_not_negative CHECK (on_hand >= 0 AND reserved >= 0 AND shortfall >= 0),
            CONSTRAINT stock_reserved_within_on_hand CHECK (reserved <= on_hand + shortfall),
            CONSTRAINT stock_shortfall_is_real CHECK (shortfall = 0 OR shortfall = reserved - on_hand)
        ) {hot table}",
        // The key is what makes a movement happen once: an order's line, a count, a line of an import.
        "CREATE TABLE stock_movements (
            region {int} NOT NULL,
            sku text NOT NULL,
            kind text NOT NULL,
            reference text NOT NULL,
            order_id {uuid},
            on_hand_change {bigint} NOT NULL,
            reserved_change {bigint} NOT NULL,
            created_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (region, sku, kind, reference),
            CONSTRAINT stock_movements_kind_known
                CHECK (kind IN ('order', 'release', 'cancel', 'refund', 'ship', 'restock', 'count', 'import'))
        ) {table}",
    ],
};
