//! One module per table. JSON columns hold the types of `events`; texts and numbers are those of `model`, parsed again when
//! they are read.

pub mod analytics_progress;
pub mod campaign_visitors;
pub mod order;
pub mod order_line;
pub mod order_refund;
pub mod outbox;
pub mod page_event_seen;
pub mod page_rollup;
pub mod parked_message;
pub mod parked_replay;
pub mod product;
pub mod product_listing;
pub mod product_price;
pub mod product_word;
pub mod revenue_rollup;
pub mod revenue_seen;
pub mod revenue_taken_back;
pub mod stock;
pub mod stock_movement;
pub mod stock_request;
