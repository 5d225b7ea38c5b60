//! The judge of what is left after faults: see [`oracle`].

pub mod oracle;
