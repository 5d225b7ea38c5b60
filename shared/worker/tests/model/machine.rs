//! The machine: what is published and what happens, the worker that suffers it, and the model's word on the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::topology::RETRY_DELAYS;
use broker::{QueueName, QueueSpec};
use faulty::{Mischief, Parked, Server, Shape, World, histories, mischief};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use worker::Config;

use crate::kind::{Fate, Kind, id};
use crate::ledger::{Ledger, Process};

/// Histories by default; some seconds.
const CASES: u32 = 128;

/// What the model knows.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) shape: Shape,
    /// By number.
    pub(crate) published: Vec<Kind>,
    /// Something has gone wrong, so that deliveries may come again.
    pub(crate) disturbed: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Publish(Vec<Kind>),
    DatabaseAway(bool),
    World(Mischief),
}

pub(crate) fn shapes() -> impl Strategy<Value = Shape> {
    (1_usize..3, 1_usize..4, 1_usize..9, any::<bool>()).prop_map(|(processes, parallel_batches, batch, lets_go)| {
        let worker = Config {
            batch,
            parallel_batches,
            handle_timeout_ms: 300,
            // An outage outlasts it, or does not.
            hold_ms: if lets_go { 3_000 } else { 300_000 },
            heartbeat_ms: 600_000,
            ..Config::default()
        };
        Shape::tight(processes, worker)
    })
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Event;

    fn init_state() -> BoxedStrategy<Self> {
        shapes().prop_map(|shape| Self { shape, published: Vec::new(), disturbed: false }).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Event> {
        prop_oneof![
            8 => prop::collection::vec(Kind::any(), 1..10).prop_map(Event::Publish),
            2 => any::<bool>().prop_map(Event::DatabaseAway),
            20 => mischief().prop_map(Event::World),
        ]
        .boxed()
    }

    fn apply(mut state: Self, event: &Event) -> Self {
        match event {
            Event::Publish(kinds) => {
                // Whatever takes a process down disturbs the others.
                state.disturbed |= kinds.contains(&Kind::Aborts);
                state.published.extend(kinds);
            }
            Event::DatabaseAway(_) => state.disturbed = true,
            Event::World(mischief) => state.disturbed |= !matches!(mischief, Mischief::Pass(_)),
        }
        state
    }
}

/// The real thing.
pub(crate) struct Reality {
    pub(crate) world: World<Process>,
    pub(crate) ledger: Arc<Ledger>,
    published: usize,
}

impl StateMachineTest for Reality {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let ledger = Arc::<Ledger>::default();
        let judge = Arc::clone(&ledger);
        let queue = QueueSpec::new(QueueName::new("things.v1"));
        let server = Server::new(queue, Box::new(move |end| judge.judge(end, &RETRY_DELAYS)));
        let (at, parallel) = (Arc::clone(&ledger), model.shape.worker.parallel_batches);
        let make = move |client| Process { ledger: Arc::clone(&at), client, parallel };
        let world = World::new(World::<Process>::runtime(), server, model.shape.clone(), Box::new(make));
        Self { world, ledger, published: 0 }
    }

    fn apply(mut reality: Self, _: &Model, event: Event) -> Self {
        match event {
            Event::Publish(kinds) => {
                let numbered = kinds.iter().zip(reality.published..).map(|(kind, number)| kind.message(number));
                reality.world.publish(numbered);
                reality.published += kinds.len();
            }
            Event::DatabaseAway(away) => {
                reality.ledger.set_away(away);
                reality.world.pass(Duration::from_millis(1));
            }
            Event::World(mischief) => reality.world.suffer(&mischief),
        }
        reality
    }

    fn check_invariants(reality: &Self, _: &Model) {
        reality.world.assert_no_complaints();
    }

    fn teardown(mut reality: Self, model: Model) {
        reality.ledger.heal();
        reality.world.come_to_rest();
        reality.world.assert_no_complaints();
        model.agrees_with(&reality.world.server().parked(), &reality.ledger.effects());
    }
}

impl Model {
    /// Every message has ended as it must, and no other has.
    fn agrees_with(&self, parked: &[Parked], effects: &BTreeMap<model::MessageId, u32>) {
        for (number, kind) in self.published.iter().enumerate() {
            let id = id(number);
            let (effects, parked): (u32, Vec<&str>) = (
                effects.get(&id).copied().unwrap_or(0),
                parked.iter().filter(|parked| parked.message.id == id).map(|parked| parked.reason.as_str()).collect(),
            );
            // The judge has seen that each reason is right.
            let as_a_suspect = parked.iter().filter(|reason| reason.starts_with("crashing")).count();
            let right = match kind.fate() {
                Fate::Effect => parked.len() == as_a_suspect && (effects > 0 || as_a_suspect > 0),
                Fate::Parked(..) => effects == 0 && !parked.is_empty(),
            };
            assert!(right, "{id} ({kind}) has {effects} effects and is parked as {parked:?}");
            if !self.disturbed {
                assert_eq!(effects as usize + parked.len(), 1, "{id} ({kind}) ended once");
            }
        }
        assert!(effects.keys().all(|known| (0..self.published.len()).any(|number| id(number) == *known)));
    }
}

prop_state_machine! {
    #![proptest_config(histories(CASES))]

    #[test]
    fn every_message_ends_with_its_effect_or_parked_for_a_reason_whatever_goes_wrong(sequential 1..30 => Reality);
}
