//! Every route, one line a module.

use std::sync::Arc;

use axum::Router;

use crate::audit;
use crate::parked;
use crate::run::State;

pub(crate) fn router(state: &Arc<State>) -> Router {
    Router::new().merge(audit::routes()).merge(parked::routes()).with_state(Arc::clone(state))
}
