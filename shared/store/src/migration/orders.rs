//! Orders and their lines.
//!
//! The order's id is a digest of market and idempotency key, so the primary key is also what makes a key unique: no
//! further index is paid for on the hot path.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0001_orders",
    statements: &[
        "CREATE TABLE orders (
            id {uuid} NOT NULL PRIMARY KEY,
            region {int} NOT NULL,
            market text NOT NULL,
            idempotency_key text NOT NULL,
            reference text,
            customer text,
            fingerprint {bytes} NOT NULL,
            state text NOT NULL,
            reason {json},
            expires_at {time},
            version {bigint} NOT NULL DEFAULT 1,
            currency text NOT NULL,
            shipping_minor {bigint} NOT NULL,
            tax_minor {bigint} NOT NULL,
            discount_minor {bigint} NOT NULL,
            total_minor {bigint} NOT NULL,
            pricing {json} NOT NULL,
            attribution {json} NOT NULL,
            accepted_at {time} NOT NULL,
            created_at {time} NOT NULL DEFAULT {now},
            updated_at {time} NOT NULL DEFAULT {now},
            CONSTRAINT orders_state_known
                CHECK (state IN ('placed', 'reserved', 'paid', 'confirmed', 'rejected', 'released')),
            CONSTRAINT orders_reason_when_rejected CHECK ((state = 'rejected') = (reason IS NOT NULL)),
            CONSTRAINT orders_expiry_when_reserved CHECK ((state = 'reserved') = (expires_at IS NOT NULL)),
            CONSTRAINT orders_amounts_not_negative
                CHECK (shipping_minor >= 0 AND tax_minor >= 0 AND discount_minor >= 0 AND total_minor >= 0)
        ) {table}",
        "CREATE INDEX orders_by_reference ON orders (market, reference) WHERE reference IS NOT NULL",
        "CREATE INDEX orders_by_expiry ON orders (expires_at) WHERE state = 'reserved'",
        "CREATE TABLE order_lines (
            order_id {uuid} NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
            line_no {int} NOT NULL,
            sku text NOT NULL,
            quantity {int} NOT NULL,
            unit_price_minor {bigint} NOT NULL,
            PRIMARY KEY (order_id, line_no),
            CONSTRAINT order_lines_quantity_positive CHECK (quantity > 0),
            CONSTRAINT order_lines_price_not_negative CHECK (unit_price_minor >= 0)
        ) {table}",
    ],
};
