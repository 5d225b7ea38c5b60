//! From Segment's JSON to what Millpond counts.
//!
//! A body is split into raw events first (their sizes are limits), and of each event only what is kept is read. What
//! identifies an event or makes it count is checked and named when wrong; what only describes it (properties, context) is
//! whatever the shop made it, so an odd value there is passed over.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use events::{PageEvent, PageEventKind, Product};
use model::{ClientEventId, Clock, EventId};
use serde::Deserialize;
use serde_json::value::RawValue;
use service::FieldError;
use service::fields::Faults;

use super::Form;
use super::place::{self, Context, Properties};

/// A visitor's id at most, bytes.
const VISITOR_BYTES: usize = 256;
/// A name is cut here, bytes.
const NAME_BYTES: usize = 256;
/// Products of one event; what follows is passed over.
const PRODUCTS: usize = 100;
const KINDS: &str = "track, page, identify, screen, group, alias";

pub(super) struct Limits {
    pub(super) event_bytes: usize,
    pub(super) batch_events: usize,
}

/// A member as it stands in the body.
pub(super) type Member<'a> = Option<&'a RawValue>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Outer<'a> {
    #[serde(borrow)]
    batch: Member<'a>,
    #[serde(borrow)]
    context: Member<'a>,
    #[serde(borrow)]
    write_key: Member<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Call<'a> {
    #[serde(borrow)]
    r#type: Member<'a>,
    #[serde(borrow)]
    event: Member<'a>,
    #[serde(borrow)]
    name: Member<'a>,
    #[serde(borrow)]
    message_id: Member<'a>,
    #[serde(borrow)]
    user_id: Member<'a>,
    #[serde(borrow)]
    anonymous_id: Member<'a>,
    #[serde(borrow)]
    timestamp: Member<'a>,
    #[serde(borrow)]
    original_timestamp: Member<'a>,
    #[serde(borrow)]
    properties: Member<'a>,
    #[serde(borrow)]
    context: Member<'a>,
}

/// A request's body, split but not yet read.
pub(super) struct Raw<'a> {
    form: Form,
    whole: &'a RawValue,
    outer: Outer<'a>,
}

impl<'a> Raw<'a> {
    pub(super) fn parse(body: &'a [u8], form: Form) -> Result<Self, serde_json::Error> {
        let whole: &RawValue = serde_json::from_slice(body)?;
        Ok(Self { form, whole, outer: object(whole)?.unwrap_or_default() })
    }

    /// The body's own API key, for callers that can't set a header.
    pub(super) fn write_key(&self) -> Option<String> {
        text(self.outer.write_key).filter(|key| !key.is_empty()).map(Cow::into_owned)
    }

    /// All events; or one sentence and every wrong field.
    pub(super) fn events(
        &self,
        limits: &Limits,
        clock: &dyn Clock,
    ) -> Result<Vec<PageEvent>, (String, Vec<FieldError>)> {
        let mut faults = Faults::default();
        let events: Vec<PageEvent> = match self.form {
            Form::One(kind) => {
                let reader = Reader { limits, clock, batch: Context::default() };
                reader.event(self.whole, Some(kind), "", &mut faults).into_iter().collect()
            }
            Form::Batch => {
                let reader = Reader { limits, clock, batch: lenient(self.outer.context) };
                self.items(limits, &mut faults)
                    .into_iter()
                    .enumerate()
                    .filter_map(|(position, item)| reader.event(item, None, &format!("/batch/{position}"), &mut faults))
                    .collect()
            }
        };
        if faults.is_empty() { Ok(events) } else { Err(faults.finish()) }
    }

    fn items(&self, limits: &Limits, faults: &mut Faults) -> Vec<&'a RawValue> {
        let max = limits.batch_events;
        let items: Option<Vec<&RawValue>> = self.outer.batch.and_then(|batch| serde_json::from_str(batch.get()).ok());
        match items {
            Some(items) if (1..=max).contains(&items.len()) => items,
            Some(items) => {
                faults.add("/batch", format!("must hold 1 to {max} events, not {}", items.len()));
                Vec::new()
            }
            None => {
                faults.add("/batch", "must be an array of events");
                Vec::new()
            }
        }
    }
}

struct Reader<'a> {
    limits: &'a Limits,
    clock: &'a dyn Clock,
    /// The batch's own context, which its items inherit.
    batch: Context<'a>,
}

impl Reader<'_> {
    /// One event. `kind` is the route's; an item of a batch names its own.
    fn event(
        &self,
        raw: &RawValue,
        kind: Option<PageEventKind>,
        pointer: &str,
        faults: &mut Faults,
    ) -> Option<PageEvent> {
        let (length, max) = (raw.get().len(), self.limits.event_bytes);
        if length > max {
            faults.add(pointer, format!("an event must be at most {max} bytes long, this has {length}"));
            return None;
        }
        let call: Call<'_> = match object(raw) {
            Ok(Some(call)) => call,
            Ok(None) => {
                faults.add(pointer, "an event must be an object");
                return None;
            }
            Err(error) => {
                faults.add(pointer, error.to_string());
                return None;
            }
        };
        let kind = kind.or_else(|| kind_of(call.r#type, pointer, faults));
        let visitor = visitor(&call, pointer, faults);
        let message_id = self.message_id(&call, pointer, faults);
        let name = name(&call, kind, pointer, faults);
        let properties: Properties<'_> = lenient(call.properties);
        let context = lenient::<Context<'_>>(call.context).or(&self.batch);
        Some(PageEvent {
            message_id: message_id?,
            kind: kind?,
            name,
            visitor: visitor?,
            client_time: time(call.original_timestamp).or_else(|| time(call.timestamp)),
            path: place::path(&properties, &context),
            campaign: place::campaign(&properties, &context),
            products: products(&properties),
        })
    }

    fn message_id(&self, call: &Call<'_>, pointer: &str, faults: &mut Faults) -> Option<ClientEventId> {
        let Some(member) = call.message_id else {
            // Without an id of its own it counts as often as it is sent.
            return EventId::new(self.clock).to_string().parse().ok();
        };
        let pointer = || format!("{pointer}/messageId");
        let Some(id) = id_text(Some(member)) else {
            faults.add(pointer(), "must be a string");
            return None;
        };
        ClientEventId::try_from(id).map_err(|error| faults.add(pointer(), error.to_string())).ok()
    }
}

fn kind_of(member: Member<'_>, pointer: &str, faults: &mut Faults) -> Option<PageEventKind> {
    let kind = member.and_then(|member| serde_json::from_str(member.get()).ok());
    if kind.is_none() {
        let what = if member.is_none() { "is missing; it is" } else { "must be" };
        faults.add(format!("{pointer}/type"), format!("{what} one of {KINDS}"));
    }
    kind
}

fn visitor(call: &Call<'_>, pointer: &str, faults: &mut Faults) -> Option<String> {
    for (name, member) in [("userId", call.user_id), ("anonymousId", call.anonymous_id)] {
        let Some(member) = member else { continue };
        match id_text(Some(member)) {
            Some(id) if id.is_empty() => {}
            Some(id) if id.len() <= VISITOR_BYTES => return Some(id),
            Some(id) => {
                let detail = format!("must be at most {VISITOR_BYTES} bytes long, this has {}", id.len());
                faults.add(format!("{pointer}/{name}"), detail);
                return None;
            }
            None => {
                faults.add(format!("{pointer}/{name}"), "must be a string");
                return None;
            }
        }
    }
    faults.add(format!("{pointer}/userId"), "is missing; userId or anonymousId is required");
    None
}

fn name(call: &Call<'_>, kind: Option<PageEventKind>, pointer: &str, faults: &mut Faults) -> Option<String> {
    match kind? {
        PageEventKind::Track => match text(call.event) {
            Some(event) if !event.is_empty() => Some(place::cut(&event, NAME_BYTES)),
            _ => {
                let detail = "must be the event's name, such as \"Product Viewed\"";
                faults.add(format!("{pointer}/event"), detail);
                None
            }
        },
        PageEventKind::Page | PageEventKind::Screen => {
            text(call.name).filter(|name| !name.is_empty()).map(|name| place::cut(&name, NAME_BYTES))
        }
        PageEventKind::Identify | PageEventKind::Group | PageEventKind::Alias => None,
    }
}

/// Segment's ecommerce events name one product in their properties or several in `products`.
fn products(properties: &Properties<'_>) -> Vec<Product> {
    let several: Vec<&RawValue> =
        properties.products.and_then(|products| serde_json::from_str(products.get()).ok()).unwrap_or_default();
    if several.is_empty() {
        return product(properties.sku, properties.product_id, properties.quantity).into_iter().collect();
    }
    several
        .into_iter()
        .take(PRODUCTS)
        .filter_map(|item| {
            let item: Properties<'_> = lenient(Some(item));
            product(item.sku, item.product_id, item.quantity)
        })
        .collect()
}

fn product(sku: Member<'_>, product_id: Member<'_>, quantity: Member<'_>) -> Option<Product> {
    let sku = [sku, product_id].into_iter().filter_map(id_text).find(|sku| !sku.is_empty() && sku.len() <= 128)?;
    let quantity = quantity.and_then(|quantity| serde_json::from_str(quantity.get()).ok());
    Some(Product { sku, quantity })
}

/// The members of an object; `None` for any other JSON value. (serde would read a struct from an array as well.)
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<Option<T>, serde_json::Error> {
    if raw.get().starts_with('{') { serde_json::from_str(raw.get()).map(Some) } else { Ok(None) }
}

/// What can be read of a descriptive member.
fn lenient<'a, T: Deserialize<'a> + Default>(member: Member<'a>) -> T {
    member.and_then(|raw| object(raw).ok().flatten()).unwrap_or_default()
}

pub(super) fn text(member: Member<'_>) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    member.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0))
}

/// An id: a string, or a number, which many shops' ids are.
fn id_text(member: Member<'_>) -> Option<String> {
    text(member).map(Cow::into_owned).or_else(|| {
        let raw = member?.get();
        serde_json::from_str::<serde_json::Number>(raw).is_ok().then(|| raw.to_owned())
    })
}

fn time(member: Member<'_>) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(&text(member)?).ok().map(|time| time.to_utc())
}
