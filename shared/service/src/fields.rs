//! Reading a JSON object field by field, so that every wrong field is found, not only the first.

use model::TextError;
use serde_json::{Map, Value};

use crate::problem::{FieldError, Kind, Problem, kinds};

/// More wrong fields than this are counted and not named: an answer is not to be a multiple of its request.
const NAMED: usize = 100;

/// The wrong fields found so far.
#[derive(Debug, Default)]
pub struct Faults {
    named: Vec<FieldError>,
    count: usize,
}

impl Faults {
    /// One more.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.add_with(pointer, || detail.into());
    }

    /// As [`Faults::add`], for a detail that is worth making only where it is named: of faults that a few bytes cause.
    pub fn add_with(&mut self, pointer: impl Into<String>, detail: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(FieldError { pointer: pointer.into(), detail: detail() });
        }
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One sentence about them, and those that are named.
    pub fn finish(self) -> (String, Vec<FieldError>) {
        let named = self.named.len();
        let sentence = match (self.count, self.named.first()) {
            (1, Some(only)) => format!("{}: {}", place(&only.pointer), only.detail),
            (count, _) if count == named => format!("{count} fields are wrong"),
            (count, _) => format!("{count} fields are wrong; the first {named} are named"),
        };
        (sentence, self.named)
    }
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the body" } else { pointer }
}

/// What `read` makes of the object that `body` is. `known` names the members for whoever sent another one.
///
/// # Errors
/// A problem of its own where the body is not JSON, else one of `kind` that names every wrong field.
pub fn whole<T>(
    body: &[u8],
    kind: Kind,
    known: &str,
    read: impl FnOnce(&mut Object, &mut Faults) -> Option<T>,
) -> Result<T, Problem> {
    let value = serde_json::from_slice(body)
        .map_err(|error| Problem::new(kinds::NOT_JSON, format!("the body is not JSON: {error}")))?;
    let mut faults = Faults::default();
    let made = Object::new(value, String::new(), &mut faults).and_then(|mut object| {
        let made = read(&mut object, &mut faults);
        object.deny_the_rest(known, &mut faults);
        made
    });
    match made {
        Some(made) if faults.is_empty() => Ok(made),
        _ => {
            let (detail, errors) = faults.finish();
            Err(Problem::new(kind, detail).with_errors(errors))
        }
    }
}

/// A JSON object whose members are taken one by one; what is left at the end is unknown.
pub struct Object {
    members: Map<String, Value>,
    pointer: String,
}

impl Object {
    /// The object in `value`; a fault where it is something else.
    pub fn new(value: Value, pointer: String, faults: &mut Faults) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self { members, pointer }),
            other => {
                faults.add(pointer, format!("must be an object, not {}", kind(&other)));
                None
            }
        }
    }

    /// The member's JSON pointer.
    pub fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.pointer)
    }

    /// The member `name`; a fault where it is missing or `read` refuses it.
    pub fn required<T>(
        &mut self,
        name: &str,
        faults: &mut Faults,
        read: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        let what = match self.members.get(name) {
            None => "is missing",
            Some(Value::Null) => "must not be null",
            Some(_) => return self.optional(name, faults, read),
        };
        self.members.remove(name);
        faults.add(self.at(name), what);
        None
    }

    /// The member `name`, where there is one that is not null; a fault where `read` refuses it.
    pub fn optional<T>(
        &mut self,
        name: &str,
        faults: &mut Faults,
        read: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.members.remove(name).filter(|value| !value.is_null())?;
        read(value).map_err(|detail| faults.add(self.at(name), detail)).ok()
    }

    /// The member `name`, where there is one: none in it for null, which takes something away (RFC 7396); a fault where `read`
    /// refuses it.
    pub fn nullable<T>(
        &mut self,
        name: &str,
        faults: &mut Faults,
        read: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.members.remove(name)? {
            Value::Null => Some(None),
            value => read(value).map_err(|detail| faults.add(self.at(name), detail)).ok().map(Some),
        }
    }

    /// The member `name` as it is.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Names what nobody took.
    pub fn deny_the_rest(self, known: &str, faults: &mut Faults) {
        for name in self.members.keys() {
            faults
                .add(format!("{}/{}", self.pointer, escaped(name)), format!("is not a known field; known are {known}"));
        }
    }
}

/// A member's name within a JSON pointer (RFC 6901, section 3), cut where somebody made it endless.
fn escaped(name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    name.replace('~', "~0").replace('/', "~1")
}

/// The largest amount of an order, minor units: ten trillion of a currency with cents. Rollups add the amounts of many
/// orders up in 64 bits; one order near the end of those would make the sum of its whole minute overflow, and with it the
/// others' orders poison. Below this bound it takes more than 9,000 of the largest.
pub const MAX_AMOUNT: i64 = 1_000_000_000_000_000;

/// A whole number of minor units, 0 to [`MAX_AMOUNT`].
///
/// # Errors
/// What it is instead.
pub fn amount(value: &Value) -> Result<i64, String> {
    const WANTED: &str = "must be a whole number of minor units (cents), 0 or more";
    match value.as_i64() {
        Some(minor) if minor > MAX_AMOUNT => Err(format!("must be at most {MAX_AMOUNT} minor units, not {minor}")),
        Some(minor) if minor >= 0 => Ok(minor),
        Some(minor) => Err(format!("{WANTED}, not {minor}")),
        None if value.is_number() => Err(format!("{WANTED}, not {value}")),
        None => Err(format!("{WANTED}, not {}", kind(value))),
    }
}

/// A text type of `model`.
///
/// # Errors
/// Why it is none.
pub fn text<T: TryFrom<String, Error = TextError>>(value: Value) -> Result<T, String> {
    string(value)?.try_into().map_err(|error: TextError| error.to_string())
}

/// Text of 1 to `max` bytes without control characters.
pub fn short_text(max: usize) -> impl FnOnce(Value) -> Result<String, String> {
    move |value| {
        let text = string(value)?;
        if text.is_empty() || text.len() > max {
            Err(format!("must be 1 to {max} bytes long, this has {}", text.len()))
        } else if text.chars().any(char::is_control) {
            Err("must not contain control characters".to_owned())
        } else {
            Ok(text)
        }
    }
}

/// A text.
///
/// # Errors
/// What it is instead.
pub fn string(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("must be a string, not {}", kind(&other))),
    }
}

/// What a JSON value is, for a sentence.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
