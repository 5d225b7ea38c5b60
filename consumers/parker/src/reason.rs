//! What is the same about two reasons: pure.

/// The longest key, in characters.
const MAX_KEY: usize = 200;
/// Stands for a word with a digit in it: a number, an id, a time, a code.
const NUMBER: char = '#';
/// Stands for what was between quotes: data, most likely.
const QUOTED: char = '…';
/// What a message that nobody gave a reason for is grouped under.
const NONE: &str = "(no reason)";

/// A reason without what differs between messages: words with digits become `#`, what stands between quotes `…`, white space
/// one blank; at most 200 characters. Field names in backquotes stay. So a thousand orders that failed for one cause are one
/// group, and no value of a message is in its name.
pub fn reason_key(reason: &str) -> String {
    let mut key = String::new();
    let mut rest = reason;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if let Some(after) = behind_quote(before, rest) {
            key.push(QUOTED);
            rest = after;
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            push_word(&mut key, &rest[..length]);
            rest = &rest[length..];
        } else {
            push_blank_free(&mut key, c);
            rest = &rest[c.len_utf8()..];
        }
        before = key.chars().next_back().unwrap_or(' ');
    }
    if let Some((end, _)) = key.char_indices().nth(MAX_KEY) {
        // The cut may have made a quote of what was none.
        return reason_key(&key[..end]);
    }
    let key = key.trim();
    if key.is_empty() { NONE.to_owned() } else { key.to_owned() }
}

/// A reason as it may be shown: what stands between quotes is data of a message, and gone.
pub fn without_quoted(reason: &str) -> String {
    let mut shown = String::with_capacity(reason.len());
    let mut rest = reason;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if let Some(after) = behind_quote(before, rest) {
            shown.push(QUOTED);
            rest = after;
        } else {
            shown.push(if c.is_control() { ' ' } else { c });
            rest = &rest[c.len_utf8()..];
        }
        before = c;
    }
    shown
}

/// What is behind the quotation that `text` begins with. An apostrophe within a word is no quote.
fn behind_quote(before: char, text: &str) -> Option<&str> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, c)| matches!(c, '"' | '\''))?;
    if is_word(before) {
        return None;
    }
    let mut escaped = false;
    for (at, c) in chars {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            let after = &text[at + c.len_utf8()..];
            if quote == '"' || !after.starts_with(is_word) {
                return Some(after);
            }
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | NUMBER)
}

fn push_word(key: &mut String, word: &str) {
    if !word.contains(|c: char| c.is_numeric() || c == NUMBER) {
        key.push_str(word);
        return;
    }
    // 1.5, 12:30 and 1,000 are one number each, as is an id in parts.
    let joined = key.strip_suffix(['.', ',', ':', '/', '+']).is_some_and(|before| before.ends_with(NUMBER));
    if joined {
        key.pop();
    } else if !key.ends_with(NUMBER) {
        key.push(NUMBER);
    }
}

fn push_blank_free(key: &mut String, c: char) {
    if c.is_whitespace() || c.is_control() {
        if !key.is_empty() && !key.ends_with(' ') {
            key.push(' ');
        }
    } else {
        key.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_between_messages_is_not_in_the_key() {
        for (one, other, key) in [
            (
                "poison: the total is 2900, its parts sum up to 2901",
                "poison: the total is 7, its parts sum up to 100000",
                "poison: the total is #, its parts sum up to #",
            ),
            (
                "malformed: invalid type: string \"Ada Lovelace\", expected u32 at line 1 column 45",
                "malformed: invalid type: string \"Bob\", expected u32 at line 12 column 4",
                "malformed: invalid type: string …, expected # at line # column #",
            ),
            (
                "order 0199c5d2-7b3e-7c51-a6c1-0f3a5b6c7d8e met 10.0.0.7:5432 after 1.5 s",
                "order 0199c5d2-aaaa-7c51-a6c1-0f3a5b6c7d8f met 10.0.0.8:5433 after 20 s",
                "order # met # after # s",
            ),
            ("it can't be read", "it  can't\nbe read", "it can't be read"),
            ("missing field `total_minor`", "missing field `total_minor`", "missing field `total_minor`"),
            ("", " \u{0}", "(no reason)"),
        ] {
            assert_eq!(reason_key(one), key);
            assert_eq!(reason_key(other), key);
        }
    }

    #[test]
    fn different_causes_are_different_groups() {
        assert_ne!(reason_key("poison: an amount is below 0"), reason_key("poison: the order has no lines"));
    }

    #[test]
    fn a_shown_reason_keeps_its_numbers_and_loses_what_is_quoted() {
        let reason = "invalid type: string \"Ada \\\"Countess\\\" L.\", expected u32 at line 1";
        assert_eq!(without_quoted(reason), "invalid type: string …, expected u32 at line 1");
        assert_eq!(without_quoted("it isn't 'Ada'"), "it isn't …");
    }

    proptest! {
        #[test]
        fn a_key_of_a_key_is_itself(reason in "\\PC{0,300}") {
            let key = reason_key(&reason);
            prop_assert_eq!(reason_key(&key), key);
        }

        #[test]
        fn a_key_is_short_and_holds_no_digit_and_nothing_unprintable(reason in any::<String>()) {
            let key = reason_key(&reason);
            prop_assert!(!key.is_empty() && key.chars().count() <= MAX_KEY);
            prop_assert!(!key.contains(|c: char| c.is_control() || c.is_ascii_digit()), "{}", key);
        }

        #[test]
        fn ids_and_numbers_split_no_group(a in any::<u128>(), b in any::<u128>(), n in any::<i64>(), m in any::<f32>()) {
            let of = |id: u128, number: String| {
                reason_key(&format!("order {} failed: {number} units in {id:x} at {id}", uuid::Uuid::from_u128(id)))
            };
            // Without a digit it is a word: one in 10^13 of all ids.
            prop_assume!([a, b].iter().all(|id| format!("{id:x}").contains(|c: char| c.is_ascii_digit())));
            prop_assume!(m.is_finite());
            prop_assert_eq!(of(a, n.to_string()), of(b, format!("{m:.2}")));
        }

        #[test]
        fn nothing_that_is_quoted_is_in_the_key(value in "[A-Za-z ]{4,40}") {
            let reason = format!("invalid value: string \"{value}Q\", expected a name");
            prop_assert!(!reason_key(&reason).contains(&value));
            prop_assert!(!without_quoted(&reason).contains(&value));
        }
    }
}
