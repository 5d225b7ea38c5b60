mod changes;
mod fixture;
mod public;
mod semantics;
mod shelf;
mod spike;
mod status;
mod stream;
