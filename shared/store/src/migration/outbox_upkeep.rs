//! The outbox is emptied as fast as it is filled. What is deleted takes room, and every claim's time, until it is cleared
//! away; so that is due after few dead rows, and is done in one go (it is a small table; the usual pauses are for large ones).
//! PostgreSQL applies the same to what it stores beside the table, chunk by chunk. The statement locks out nobody who reads
//! or writes.

use super::Step;

pub(super) const STEP: Step = Step { name: "m0012_outbox_upkeep", statements: &["{outbox cleared often}"] };
