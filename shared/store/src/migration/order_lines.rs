//! A line is written by the transaction that writes its order, and neither is ever deleted. That the one is there was asked
//! for each line nevertheless, with a lock on the order's row and a record of it in the log: a tenth of the log, and of the
//! orders that a checkout could store (infra/decisions/0002). SQLite, where it costs less, would need the table written again.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0015_order_lines",
    statements: &[
        // In the order in which checkout takes them: the other way round each would wait for the other.
        "{postgres only} LOCK TABLE orders, order_lines IN ACCESS EXCLUSIVE MODE",
        "{postgres only} ALTER TABLE order_lines DROP CONSTRAINT order_lines_order_id_fkey",
    ],
};
