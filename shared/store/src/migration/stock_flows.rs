//! What stock and orders need beyond the sale itself: see `stock`.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0011_stock_flows",
    statements: &[
        "ALTER TABLE orders ADD COLUMN shipped_at {time}",
        // A kind more. PostgreSQL: the rows that are there satisfied the narrower check, so they are not read again.
        "{postgres only} ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_kind_known,
            ADD CONSTRAINT stock_movements_kind_known CHECK (kind IN
                ('order', 'release', 'cancel', 'refund', 'ship', 'restock', 'count', 'allotment', 'import')) NOT VALID",
        // SQLite changes no constraint of a table that is there.
        "{sqlite only} ALTER TABLE stock_movements RENAME TO stock_movements_before",
        "{sqlite only} CREATE TABLE stock_movements (
            region {int} NOT NULL,
            sku text NOT NULL,
            kind text NOT NULL,
            reference text NOT NULL,
            order_id {uuid},
            on_hand_change {bigint} NOT NULL,
            reserved_change {bigint} NOT NULL,
            created_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (region, sku, kind, reference),
            CONSTRAINT stock_movements_kind_known CHECK (kind IN
                ('order', 'release', 'cancel', 'refund', 'ship', 'restock', 'count', 'allotment', 'import'))
        ) {table}",
        "{sqlite only} INSERT INTO stock_movements
            (region, sku, kind, reference, order_id, on_hand_change, reserved_change, created_at)
            SELECT region, sku, kind, reference, order_id, on_hand_change, reserved_change, created_at
            FROM stock_movements_before",
        "{sqlite only} DROP TABLE stock_movements_before",
        "CREATE TABLE order_refunds (
            order_id {uuid} NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
            sku text NOT NULL,
            reference text NOT NULL,
            quantity {int} NOT NULL,
            restocked {bool} NOT NULL,
            amount_minor {bigint} NOT NULL,
            created_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (order_id, sku, reference),
            CONSTRAINT order_refunds_quantity_positive CHECK (quantity > 0),
            CONSTRAINT order_refunds_amount_not_negative CHECK (amount_minor >= 0)
        ) {table}",
        // A request and its answer commit with what it did. Kept for a while; the keys of movements and refunds are for ever.
        "CREATE TABLE stock_requests (
            region {int} NOT NULL,
            market text NOT NULL,
            idempotency_key text NOT NULL,
            fingerprint {bytes} NOT NULL,
            answer {json},
            created_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (region, market, idempotency_key)
        ) {table}",
        "CREATE INDEX stock_requests_by_age ON stock_requests (created_at)",
        // What analytics took back: a release or a refund of an order counts once. Kept for ever, as `revenue_seen` is.
        "CREATE TABLE revenue_taken_back (
            order_id {uuid} NOT NULL,
            reference text NOT NULL,
            seen_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (order_id, reference)
        ) {table}",
    ],
};
