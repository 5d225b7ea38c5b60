//! Which acks may be one frame: pure arithmetic on delivery tags.
//!
//! A channel numbers its deliveries 1, 2, 3…, and an ack with `multiple` covers every lower tag. So it may only name a
//! tag at or below the **low-water mark**, the highest tag with no unsettled one at or below it. What is acked beyond
//! the mark goes as a frame of its own at once: held back it would count against the prefetch, and one slow message
//! would stop the consumer.

use std::collections::VecDeque;

/// The unsettled window of one channel.
#[derive(Debug, Default)]
pub(crate) struct LowWater {
    /// The low-water mark: every tag up to it is settled.
    mark: u64,
    /// Whether each tag beyond the mark is settled. The first never is.
    beyond: VecDeque<bool>,
    acks: Vec<u64>,
    nacks: Vec<u64>,
}

/// What to send, in this order: a multiple ack must not overtake the nack of a tag that it covers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    /// Back to the queue, one by one.
    pub(crate) nacks: Vec<u64>,
    /// Acked one by one.
    pub(crate) acks: Vec<u64>,
    /// Acked with every unsettled tag below. It is itself unsettled at the broker, which would else close the channel.
    pub(crate) up_to: Option<u64>,
}

impl LowWater {
    /// A delivery came in. A tag that was skipped counts as unsettled for ever: it is never covered.
    pub(crate) fn deliver(&mut self, tag: u64) {
        while self.last() < tag {
            self.beyond.push_back(false);
        }
    }

    /// To be acked.
    pub(crate) fn ack(&mut self, tag: u64) {
        if self.settle(tag) {
            self.acks.push(tag);
        }
    }

    /// To be given back.
    pub(crate) fn nack(&mut self, tag: u64) {
        if self.settle(tag) {
            self.nacks.push(tag);
        }
    }

    /// How many deliveries are not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.beyond.iter().filter(|settled| !**settled).count()
    }

    /// Everything settled since the last call, as few frames as it can be.
    pub(crate) fn take(&mut self) -> Frames {
        while self.beyond.front() == Some(&true) {
            self.beyond.pop_front();
            self.mark += 1;
        }
        let (covered, singly): (Vec<u64>, Vec<u64>) = std::mem::take(&mut self.acks)
            .into_iter()
            .partition(|tag| *tag <= self.mark || failpoint::broken!(AckOverUnsettled));
        Frames { nacks: std::mem::take(&mut self.nacks), acks: singly, up_to: covered.into_iter().max() }
    }

    fn last(&self) -> u64 {
        self.mark + self.beyond.len() as u64
    }

    /// Whether it was unsettled until now.
    fn settle(&mut self, tag: u64) -> bool {
        let slot = tag.checked_sub(self.mark + 1).and_then(|at| usize::try_from(at).ok());
        let slot = slot.and_then(|at| self.beyond.get_mut(at));
        slot.is_some_and(|settled| !std::mem::replace(settled, true))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_settled_whole_is_one_frame() {
        let mut water = LowWater::default();
        (1..=100).for_each(|tag| water.deliver(tag));
        (1..=100).rev().for_each(|tag| water.ack(tag));
        assert_eq!(water.take(), Frames { up_to: Some(100), ..Frames::default() });
        assert_eq!(water.take(), Frames::default());
    }

    #[test]
    fn a_later_batch_that_finishes_first_is_acked_singly() {
        let mut water = LowWater::default();
        (1..=4).for_each(|tag| water.deliver(tag));
        water.ack(3);
        water.ack(4);
        assert_eq!(water.take(), Frames { acks: vec![3, 4], ..Frames::default() });
        water.ack(1);
        water.ack(2);
        assert_eq!(water.take(), Frames { up_to: Some(2), ..Frames::default() }, "3 and 4 are unknown to the broker");
    }

    /// RabbitMQ's side: what it has handed out and not seen settled. Naming an unknown tag closes the channel.
    #[derive(Default)]
    struct Channel {
        unsettled: BTreeSet<u64>,
        acked: BTreeSet<u64>,
        requeued: BTreeSet<u64>,
    }

    impl Channel {
        fn receive(&mut self, frames: Frames) {
            for tag in frames.nacks {
                assert!(self.unsettled.remove(&tag), "nack of unknown tag {tag}");
                self.requeued.insert(tag);
            }
            for tag in frames.acks {
                assert!(self.unsettled.remove(&tag), "ack of unknown tag {tag}");
                self.acked.insert(tag);
            }
            if let Some(up_to) = frames.up_to {
                assert!(self.unsettled.contains(&up_to), "multiple ack of unknown tag {up_to}");
                let above = self.unsettled.split_off(&(up_to + 1));
                self.acked.append(&mut std::mem::replace(&mut self.unsettled, above));
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Deliver,
        Ack(prop::sample::Index),
        Nack(prop::sample::Index),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Deliver),
            3 => any::<prop::sample::Index>().prop_map(Step::Ack),
            1 => any::<prop::sample::Index>().prop_map(Step::Nack),
            1 => Just(Step::Flush),
        ]
    }

    proptest! {
        #[test]
        fn the_broker_sees_acked_exactly_what_was_acked(steps in prop::collection::vec(step(), 0..300)) {
            let (mut water, mut channel) = (LowWater::default(), Channel::default());
            let (mut held, mut acked, mut nacked) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            let mut last = 0;
            for step in steps.into_iter().chain([Step::Flush]) {
                match step {
                    Step::Deliver => {
                        last += 1;
                        channel.unsettled.insert(last);
                        water.deliver(last);
                        held.push(last);
                    }
                    Step::Ack(which) if !held.is_empty() => {
                        let tag = held.remove(which.index(held.len()));
                        water.ack(tag);
                        acked.insert(tag);
                    }
                    Step::Nack(which) if !held.is_empty() => {
                        let tag = held.remove(which.index(held.len()));
                        water.nack(tag);
                        nacked.insert(tag);
                    }
                    Step::Flush => {
                        channel.receive(water.take());
                        prop_assert!(channel.acked.is_subset(&acked), "an unsettled or returned tag was acked");
                    }
                    Step::Ack(_) | Step::Nack(_) => {}
                }
                prop_assert_eq!(water.unsettled(), held.len());
            }
            prop_assert_eq!(channel.acked, acked);
            prop_assert_eq!(channel.requeued, nacked);
            prop_assert_eq!(channel.unsettled, held.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
