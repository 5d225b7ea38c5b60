mod access;
mod actions;
mod fixture;
mod orders;
mod queues;
