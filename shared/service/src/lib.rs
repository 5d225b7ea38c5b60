//! What every role's process needs and no role should write: how it starts logging, stops, serves HTTP and says that
//! it is ready.

mod lifecycle;

pub use lifecycle::Shutdown;
