//! Where a message stands: its queue and its place in it, in one row id.

/// Bits of a row id below the queue's number: room for 2^48 messages in a queue.
const PLACE_BITS: u32 = 48;

/// A queue's number in the file, 1 to 32,767.
pub(crate) type QueueId = i64;

/// The largest [`QueueId`]; row ids are positive 64-bit numbers.
pub(crate) const MAX_QUEUE_ID: QueueId = (1 << (63 - PLACE_BITS)) - 1;

/// A message's row id. Because the queue comes first, a queue's rows lie side by side and in order in the table itself,
/// and no second index has to be written for each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) i64);

impl Key {
    pub(crate) fn new(queue: QueueId, place: i64) -> Self {
        Self((queue << PLACE_BITS) | place)
    }

    pub(crate) fn queue(self) -> QueueId {
        self.0 >> PLACE_BITS
    }

    pub(crate) fn place(self) -> i64 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_queue_and_then_by_place() {
        let last = Key::new(1, (1 << PLACE_BITS) - 1);
        let first = Key::new(2, 0);
        assert!(last < first);
        assert_eq!((last.queue(), last.place()), (1, (1 << PLACE_BITS) - 1));
        assert!(Key::new(MAX_QUEUE_ID, 0).0 > 0);
    }
}
