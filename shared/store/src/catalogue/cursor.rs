//! Where a page of a list ended.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Sku;

use super::words::SORT_KEY_CHARS;

/// Stands between the two parts; neither holds it.
const BETWEEN: char = '\n';

/// The last product of a page: the next page begins after it, whatever came or went before it. Opaque: its text (base64url) goes
/// into an address and comes back as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) sort_key: String,
    pub(super) sku: String,
}

/// Why a text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a page that a list named")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{}{BETWEEN}{}", self.sort_key, self.sku)))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;
    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let (sort_key, sku) = text.split_once(BETWEEN).ok_or(CursorError)?;
        let sku: Sku = sku.parse().map_err(|_| CursorError)?;
        // What no list makes is kept away from the database, which takes no NUL.
        if sort_key.chars().count() > SORT_KEY_CHARS || sort_key.chars().any(char::is_control) {
            return Err(CursorError);
        }
        Ok(Self { sort_key: sort_key.to_owned(), sku: sku.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_needs_no_escaping() {
        let cursor = Cursor { sort_key: "größe, blue?".to_owned(), sku: "MUG/9".to_owned() };
        let text = cursor.to_string();
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{text}");
        assert_eq!(text.parse(), Ok(cursor));
    }

    #[test]
    fn what_no_list_named_is_refused() {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let long = "k".repeat(SORT_KEY_CHARS + 1);
        for wrong in ["", "?", &encoded("no sku"), &encoded("key\ntwo words"), &encoded("k\0\nMUG")] {
            assert_eq!(wrong.parse::<Cursor>(), Err(CursorError), "{wrong}");
        }
        assert_eq!(encoded(&format!("{long}\nMUG")).parse::<Cursor>(), Err(CursorError));
    }
}
