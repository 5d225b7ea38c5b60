//! Connections, regions, migrations, entities, outbox.

mod fault;

pub use fault::Fault;
