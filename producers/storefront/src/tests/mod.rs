mod catalogue;
mod changes;
mod fixture;
mod status;
mod stream;
