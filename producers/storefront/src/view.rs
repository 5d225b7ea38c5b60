//! What a shopper is told of an order.

use cache::OrderStatus;
use chrono::{DateTime, Utc};
use events::{OrderState, Rejection};
use model::{OrderId, StatusToken};
use serde::Serialize;

/// What is known of an order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    /// Its database has no row: it was accepted (the token proves it) and waits in the queue.
    Queued,
    /// It was committed like this.
    Committed(OrderStatus),
}

/// The answer of `GET /v1/orders/{id}`, and of each event of its stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct View {
    order_id: OrderId,
    #[serde(flatten)]
    state: ViewState,
    /// Whether nothing follows.
    terminal: bool,
    /// Counts up with every change; 0 while queued.
    version: i64,
    accepted_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum ViewState {
    Queued { state: &'static str },
    Committed(OrderState),
}

impl View {
    /// What the bearer of `token` may know. A token of other contents than those that were committed belongs to a second,
    /// different post under a used key: that post was rejected, whatever became of the first.
    pub(crate) fn of(token: &StatusToken, known: &Known) -> Self {
        let (state, version) = match known {
            Known::Queued => (ViewState::Queued { state: "queued" }, 0),
            Known::Committed(order) if order.fingerprint == token.fingerprint => {
                (ViewState::Committed(order.state.clone()), order.version)
            }
            Known::Committed(order) => {
                let conflict = OrderState::Rejected { reason: Rejection::IdempotencyConflict };
                (ViewState::Committed(conflict), order.version)
            }
        };
        let terminal = matches!(&state, ViewState::Committed(state) if state.is_terminal());
        Self { order_id: token.order_id, state, terminal, version, accepted_at: token.accepted_at }
    }

    /// `queued`, or the name of the committed state; and why it was rejected, where it was.
    pub(crate) fn state(&self) -> (&'static str, Option<&'static str>) {
        match &self.state {
            ViewState::Queued { state } => (state, None),
            ViewState::Committed(OrderState::Rejected { reason }) => ("rejected", Some(reason.code())),
            ViewState::Committed(state) => (state.name(), None),
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn version(&self) -> i64 {
        self.version
    }
}
