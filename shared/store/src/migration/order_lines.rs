//! A line is written by the transaction that writes its order, and neither is ever deleted. That the one is there was asked
//! for each line nevertheless: on PostgreSQL with a lock on the order's row and a record of it in the log, a tenth of the log
//! and of the orders that a checkout could store; on SQLite the check kept a statement from being written without a second
//! copy of all that it changes (infra/decisions/0002).

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0015_order_lines",
    statements: &[
        // In the order in which checkout takes them: the other way round each would wait for the other.
        "{postgres only} LOCK TABLE orders, order_lines IN ACCESS EXCLUSIVE MODE",
        "{postgres only} ALTER TABLE order_lines DROP CONSTRAINT order_lines_order_id_fkey",
    ],
};

/// SQLite drops no constraint of a table that is there: it is written again.
pub(super) const SQLITE_STEP: Step = Step {
    name: "m0016_order_lines_sqlite",
    statements: &[
        "{sqlite only} ALTER TABLE order_lines RENAME TO order_lines_before",
        "{sqlite only} CREATE TABLE order_lines (
            order_id {uuid} NOT NULL,
            line_no {int} NOT NULL,
            sku text NOT NULL,
            quantity {int} NOT NULL,
            unit_price_minor {bigint} NOT NULL,
            PRIMARY KEY (order_id, line_no),
            CONSTRAINT order_lines_quantity_positive CHECK (quantity > 0),
            CONSTRAINT order_lines_price_not_negative CHECK (unit_price_minor >= 0)
        ) {table}",
        "{sqlite only} INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price_minor)
            SELECT order_id, line_no, sku, quantity, unit_price_minor FROM order_lines_before",
        "{sqlite only} DROP TABLE order_lines_before",
    ],
};
