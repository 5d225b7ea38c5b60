//! What a product's fields may hold, however they came.

use model::CollectionName;

const MAX_TITLE_CHARS: usize = 300;
const MAX_DESCRIPTION_CHARS: usize = 20_000;
const MAX_IMAGE_BYTES: usize = 2_048;
const MAX_COLLECTIONS: usize = 32;
/// Units of one SKU at most: above any warehouse.
const MAX_UNITS: i64 = 1_000_000_000;

/// 1 to 300 characters, on one line.
pub(super) fn title(text: &str) -> Result<String, String> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > MAX_TITLE_CHARS {
        return Err(format!("must be 1 to {MAX_TITLE_CHARS} characters long, this has {length}"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// At most 20,000 characters; lines may end in it.
pub(super) fn description(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > MAX_DESCRIPTION_CHARS {
        return Err(format!("must be at most {MAX_DESCRIPTION_CHARS} characters long, this has {length}"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err("must not contain control characters but ends of lines and tabs".to_owned());
    }
    Ok(text.to_owned())
}

/// A URL, or a path on the shop's own host. Nothing that would run where a page shows it, and nothing over plain HTTP: pages load
/// no such picture.
pub(super) fn image(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    if !is_path && !text.starts_with("https://") {
        return Err("must begin with https:// or /".to_owned());
    }
    if text.len() > MAX_IMAGE_BYTES {
        return Err(format!("must be at most {MAX_IMAGE_BYTES} bytes long, this has {}", text.len()));
    }
    let escaped = |c: char| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    match text.chars().find(|c| escaped(*c)) {
        Some(found) => Err(format!("must not contain {found:?}: escape it with % as in every URL")),
        None => Ok(text.to_owned()),
    }
}

/// At most 32 names, each once.
pub(super) fn collections<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<CollectionName>, String> {
    let mut collections: Vec<CollectionName> = Vec::new();
    for name in names {
        let name: CollectionName = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
        if !collections.contains(&name) {
            collections.push(name);
        }
    }
    if collections.len() > MAX_COLLECTIONS {
        return Err(format!("must be at most {MAX_COLLECTIONS} collections, these are {}", collections.len()));
    }
    Ok(collections)
}

/// A whole number of units, 0 to a billion.
pub(super) fn units(units: Option<i64>, found: &dyn std::fmt::Display) -> Result<i64, String> {
    units
        .filter(|units| (0..=MAX_UNITS).contains(units))
        .ok_or_else(|| format!("must be a whole number of units from 0 to {MAX_UNITS}, not {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_url_or_a_path_and_nothing_that_runs() {
        for good in ["https://cdn.example/a.jpg?w=1&h=2", "/img/a%20b.png"] {
            assert_eq!(image(good).as_deref(), Ok(good));
        }
        let long = format!("/{}", "a".repeat(MAX_IMAGE_BYTES));
        for bad in ["", "a.jpg", "//evil.example/a.jpg", "javascript:alert(1)", "/a b", "/a\"onerror=", "/ä", &long] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_hold_what_can_be_stored_and_shown() {
        assert_eq!(title(" A mug "), Ok("A mug".to_owned()));
        for bad in ["", "  ", "two\nlines", "nul\0", &"x".repeat(301)] {
            assert!(title(bad).is_err(), "{bad:?}");
        }
        assert_eq!(description("two\nlines"), Ok("two\nlines".to_owned()));
        assert!(description("nul\0").is_err());
    }

    #[test]
    fn a_collection_is_named_once_and_in_lower_case() {
        let names: Vec<String> =
            collections(["b", "a", "b"].into_iter()).unwrap().into_iter().map(Into::into).collect();
        assert_eq!(names, ["b", "a"]);
        assert!(collections(["Home"].into_iter()).unwrap_err().contains("lower-case"));
        let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        assert!(collections(many.iter().map(String::as_str)).is_err());
    }
}
