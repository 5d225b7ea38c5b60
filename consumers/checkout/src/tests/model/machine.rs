//! The machine: orders, repeats, restocks and mischief; and the model's word on the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use broker::{QueueName, QueueSpec};
use events::OrderPlaced;
use faulty::{Armed, Fault, Mischief, Server, Shape, Step, World, histories, mischief, stand_still};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::desk::{Desk, Office, key_of};
use crate::tests::orders::{event, order};
use crate::tests::site::Site;

/// Histories by default; each has a database of its own.
const CASES: u32 = 48;

/// Lines of an order: SKU number, units. A number beyond the stock is an unknown SKU.
type Lines = Vec<(usize, u32)>;

#[derive(Debug, Clone)]
pub(super) struct Model {
    batch: usize,
    /// On hand at first, by SKU number.
    stock: Vec<i64>,
    /// How many keys were used.
    keys: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    /// New orders.
    Order(Vec<Lines>),
    /// An order under a key that was used before.
    Again(Index, Lines),
    Restock(usize, i64),
    DatabaseAway(bool),
    World(Mischief),
}

fn lines() -> impl Strategy<Value = Lines> + Clone {
    prop::collection::vec((0_usize..4, 1_u32..4), 1..4)
}

/// A death at some wait of the handler: it makes some dozen.
fn midway() -> impl Strategy<Value = Mischief> {
    (0_u8..4, 0_u8..40)
        .prop_map(|(skip, waits)| Mischief::Arm(Armed { at: Step::Handle, skip, fault: Fault::Midway(waits) }))
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Event;

    fn init_state() -> BoxedStrategy<Self> {
        (1_usize..9, prop::collection::vec(0_i64..12, 3))
            .prop_map(|(batch, stock)| Self { batch, stock, keys: 0 })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Event> {
        prop_oneof![
            6 => prop::collection::vec(lines(), 1..6).prop_map(Event::Order),
            2 => (any::<Index>(), lines()).prop_map(|(which, lines)| Event::Again(which, lines)),
            1 => (0_usize..3, 1_i64..6).prop_map(|(sku, units)| Event::Restock(sku, units)),
            1 => any::<bool>().prop_map(Event::DatabaseAway),
            3 => midway().prop_map(Event::World),
            10 => mischief().prop_map(Event::World),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, event: &Event) -> bool {
        state.keys > 0 || !matches!(event, Event::Again(..))
    }

    fn apply(mut state: Self, event: &Event) -> Self {
        if let Event::Order(orders) = event {
            state.keys += orders.len();
        }
        state
    }
}

fn sku(number: usize) -> String {
    format!("SKU-{number}")
}

fn placed(key: usize, lines: &Lines) -> OrderPlaced {
    let skus: Vec<(String, u32)> = lines.iter().map(|(number, units)| (sku(*number), *units)).collect();
    let lines: Vec<_> = skus.iter().map(|(sku, units)| (sku.as_str(), *units, 100)).collect();
    order(&format!("k-{key}"), &lines)
}

pub(super) struct Reality {
    world: World<Desk>,
    office: Arc<Office>,
    keys: usize,
}

impl Reality {
    fn publish(&mut self, orders: impl IntoIterator<Item = OrderPlaced>) {
        let messages: Vec<_> = orders.into_iter().map(|order| event(order).to_message()).collect();
        self.world.publish(messages);
    }
}

impl StateMachineTest for Reality {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let runtime = World::<Desk>::runtime();
        let (office, cache) = runtime.block_on(async {
            let _still = stand_still();
            let site = Site::sqlite().await;
            for (number, units) in model.stock.iter().enumerate() {
                site.stock(&sku(number), *units).await;
            }
            let cache = cache::Cache::open(&cache::Config::default()).await.unwrap();
            (Arc::new(Office::new(site)), Arc::new(cache))
        });
        let judge = Arc::clone(&office);
        let queue = QueueSpec::new(QueueName::new("orders.v1"));
        let server = Server::new(queue, Box::new(move |end| judge.judge(end)));
        let worker = worker::Config {
            batch: model.batch,
            heartbeat_ms: 600_000,
            // The clock stands still while the handler works.
            handle_timeout_ms: 60_000,
            ..worker::Config::default()
        };
        let at = Arc::clone(&office);
        let make =
            move |client| Desk { office: Arc::clone(&at), checkout: at.site.worker_beside(Arc::clone(&cache)), client };
        let world = World::new(runtime, server, Shape::tight(1, worker), Box::new(make));
        Self { world, office, keys: 0 }
    }

    fn apply(mut reality: Self, _: &Model, event: Event) -> Self {
        match event {
            Event::Order(orders) => {
                let numbered = orders.iter().zip(reality.keys..).map(|(lines, key)| placed(key, lines));
                let placed: Vec<_> = numbered.collect();
                reality.keys += placed.len();
                reality.publish(placed);
            }
            Event::Again(which, lines) => {
                let again = placed(which.index(reality.keys), &lines);
                reality.publish([again]);
            }
            Event::Restock(number, units) => {
                let sku = sku(number);
                if let Err(complaint) = reality.world.on().block_on(reality.office.restock(&sku, units)) {
                    reality.world.server().complain(complaint);
                }
            }
            Event::DatabaseAway(away) => {
                reality.office.away.store(away, Ordering::Relaxed);
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
        reality.office.away.store(false, Ordering::Relaxed);
        reality.world.come_to_rest();
        reality.world.assert_no_complaints();
        let parked: BTreeSet<String> =
            reality.world.server().parked().iter().map(|parked| key_of(&parked.message).unwrap()).collect();
        reality.world.on().block_on(async {
            let books = reality.office.books().await.unwrap();
            let _still = stand_still();
            let site = &reality.office.site;
            for key in (0..model.keys).map(|key| format!("k-{key}")) {
                assert!(books.orders.contains_key(&key) || parked.contains(&key), "{key} is lost");
            }
            assert!(books.orders.len() <= model.keys, "an order nobody placed: {books:?}");
            assert_eq!(site.outcomes().await.len(), books.orders.len(), "each order's outcome is told once");
            for (sku, (_, reserved)) in &books.stock {
                let confirmed = format!(
                    "SELECT COALESCE(SUM(l.quantity), 0) AS n FROM order_lines l JOIN orders o ON o.id = l.order_id \
                     WHERE o.state = 'confirmed' AND l.sku = '{sku}'"
                );
                assert_eq!(site.number(&confirmed).await, *reserved, "{sku}: confirmed orders have their units");
            }
        });
    }
}

prop_state_machine! {
    #![proptest_config(histories(CASES))]

    #[test]
    fn every_order_takes_effect_once_and_stock_adds_up_whatever_goes_wrong(sequential 1..25 => Reality);
}
