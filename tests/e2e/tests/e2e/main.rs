//! Millpond from outside: real processes, real requests, and what the database says afterwards.

mod layout;
