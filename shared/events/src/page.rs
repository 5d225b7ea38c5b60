//! Page events in Segment's model, one message per HTTP batch.

use chrono::{DateTime, Utc};
use model::{ClientEventId, MarketId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Contract;

/// What kind of call it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PageEventKind {
    /// A page was seen.
    Page,
    /// Something was done; [`PageEvent::name`] says what.
    Track,
    /// A visitor became known.
    Identify,
    /// A screen of an app was seen.
    Screen,
    /// A visitor joined an account.
    Group,
    /// Two ids are the same visitor.
    Alias,
}

/// A product within an event (Segment's ecommerce v2 names).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// The SKU or product id as the storefront writes it.
    pub sku: String,
    /// Units, where the event names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
}

/// One event, reduced at the edge to what Millpond counts. Free-form properties and traits are not kept: what is not
/// stored can't leak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageEvent {
    /// Segment's `messageId`; with the batch's source it makes the event count once.
    pub message_id: ClientEventId,
    /// What kind of call it was.
    pub kind: PageEventKind,
    /// The event's name for `track`, the page's for `page`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The visitor: `userId`, else `anonymousId`.
    pub visitor: String,
    /// When it happened, by the client's clock: descriptive alone.
    pub client_time: Option<DateTime<Utc>>,
    /// The page's path, without query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The campaign (`context.campaign.name`, or `utm_campaign` of the page's query).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Products that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<Product>,
}

/// `page.batch` 1: the page events of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageBatch {
    /// The market that the write key names.
    pub market: MarketId,
    /// The write key's name: the source of the events, part of their identity.
    pub source: String,
    /// Stamped by the ingress; the minute that an event counts in.
    pub received_at: DateTime<Utc>,
    /// 1 to 2,500 events (Segment's limit).
    pub events: Vec<PageEvent>,
}

impl Contract for PageBatch {
    const KIND: &'static str = "page.batch";
    const VERSION: u32 = 1;
}
