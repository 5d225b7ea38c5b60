//! What processes tell each other of what they keep.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Contract;

/// `tags.purged` 1: the generations of these tags were changed, so that everything that was rendered with one of them before
/// is old. It is announced, and never queued: who missed it finds out by the generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagsPurged {
    /// The tags, as text.
    pub tags: Vec<String>,
}

impl Contract for TagsPurged {
    const KIND: &'static str = "tags.purged";
    const VERSION: u32 = 1;
}
