//! What readers rely on: over memory and Redis, and over a model of the second level that fails.

mod model;
mod outage;
mod promises;
mod property;
mod served;
