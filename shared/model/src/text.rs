//! One way to make a text type: private field, one parser, the same checks through serde.

/// Defines a newtype over `String` whose only way in is `parse(&str) -> Result<(), TextError>`.
macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, $what:literal, max $max:literal, $allowed:expr, $allowed_words:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest text, in bytes.
            pub const MAX_LEN: usize = $max;

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() {
                    return Err(TextError::Empty { what: $what });
                }
                if text.len() > $max {
                    return Err(TextError::TooLong { what: $what, max: $max, len: text.len() });
                }
                match text.chars().find(|c| !allowed(*c)) {
                    Some(found) => Err(TextError::Character { what: $what, found, allowed: $allowed_words }),
                    None => Ok(Self(text)),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": $max,
                    "description": concat!($what, ": ", $allowed_words),
                })
            }
        }
    };
}

pub(crate) use text_type;
