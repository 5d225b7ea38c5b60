//! One long outage of the database, with broken connections and orderly restarts in it: none of that is a message's fault,
//! and none of it kills a process, so nobody may look like one that does.

use std::time::Duration;

use faulty::{Mischief, histories};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::StateMachineTest as _;

use crate::kind::Kind;
use crate::machine::{Event, Model, Reality, shapes};

const CASES: u32 = 64;

fn gently() -> impl Strategy<Value = Mischief> + Clone {
    let index = || any::<Index>();
    prop_oneof![
        4 => index().prop_map(Mischief::Cut),
        4 => index().prop_map(|which| Mischief::Restart { which, hard: false }),
        4 => prop::sample::select(vec![1_u64, 60, 2_000, 20_000])
            .prop_map(|ms| Mischief::Pass(Duration::from_millis(ms))),
        1 => any::<bool>().prop_map(Mischief::Away),
        1 => any::<bool>().prop_map(Mischief::Alarm),
    ]
}

proptest! {
    #![proptest_config(histories(CASES))]

    #[test]
    fn an_outage_makes_nobody_a_crash(
        shape in shapes(), messages in 1_usize..20, outage in prop::collection::vec(gently(), 1..80),
    ) {
        let model = Model { shape, published: vec![Kind::Good; messages], disturbed: true };
        let mut reality = Reality::apply(Reality::init_test(&model), &model, Event::DatabaseAway(true));
        reality = Reality::apply(reality, &model, Event::Publish(model.published.clone()));
        for mischief in outage {
            reality = Reality::apply(reality, &model, Event::World(mischief));
        }
        reality.ledger.heal();
        reality.world.come_to_rest();
        reality.world.assert_no_complaints();
        let (parked, effects) = (reality.world.server().parked(), reality.ledger.effects());
        prop_assert!(parked.is_empty(), "parked: {parked:?}");
        prop_assert_eq!(effects.len(), messages);
    }
}
