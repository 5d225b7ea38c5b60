mod access;
mod actions;
mod fixture;
mod orders;
mod parked;
mod queues;
mod replica;
