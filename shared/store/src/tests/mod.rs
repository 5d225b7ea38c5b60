//! The store on a SQLite file and on a real `PostgreSQL`.

mod connections;
mod entities;
mod faults;
mod fixture;
mod governor;
mod line;
mod migrations;
mod outbox;
mod replicas;
mod trials;
