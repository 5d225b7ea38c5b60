//! Every route, one line a module.

use std::sync::Arc;

use axum::Router;

use crate::run::State;
use crate::{audit, budget, orders, parked, queues};

pub(crate) fn router(state: &Arc<State>) -> Router {
    Router::new()
        .merge(audit::routes())
        .merge(budget::routes())
        .merge(orders::routes())
        .merge(parked::routes())
        .merge(queues::routes())
        .with_state(Arc::clone(state))
}
