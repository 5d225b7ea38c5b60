//! Bodies of the outbox as they are: one tells of a whole batch of orders, lives for some milliseconds, and is not worth the
//! processor's time for compressing it.

use super::Step;

pub(super) const STEP: Step = Step { name: "m0008_outbox_body", statements: &["{outbox bodies uncompressed}"] };
