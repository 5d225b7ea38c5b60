//! `If-Match` and `If-None-Match` of an edit (RFC 9110, section 13.1), and the `ETag` that they name.

use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use service::{Kind, Problem};
use store::catalogue::Expected;

const INVALID_CONDITION: Kind =
    Kind::new(StatusCode::BAD_REQUEST, "invalid_condition", "The request's condition can't be read");

/// What has to be there for the edit to be made.
///
/// # Errors
/// 400 for a condition that can't be read: an edit that was to be careful is never made without care.
pub(crate) fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    match (text(headers, &IF_MATCH)?, text(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Expected::Anything),
        (Some(tags), None) if tags.trim() == "*" => Ok(Expected::Existing),
        (Some(tags), None) => versions(&tags).map(Expected::OneOf),
        (None, Some(tags)) if tags.trim() == "*" => Ok(Expected::Absent),
        (None, Some(_)) => Err(invalid("If-None-Match takes * alone here, which makes what is not there yet")),
        (Some(_), Some(_)) => Err(invalid("send either If-Match or If-None-Match")),
    }
}

/// For what no condition can be asked of: one that is sent all the same is not ignored.
///
/// # Errors
/// 400 with `why`.
pub(crate) fn none(headers: &HeaderMap, why: &str) -> Result<(), Problem> {
    if headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH) { Err(invalid(why)) } else { Ok(()) }
}

/// Names the version that an answer tells of, for the condition of the next edit.
pub(crate) fn put_version(headers: &mut HeaderMap, version: i64) {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        headers.insert(ETAG, tag);
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let values: Result<Vec<&str>, _> = headers.get_all(name).iter().map(HeaderValue::to_str).collect();
    let values = values.map_err(|_| invalid("it is not printable text"))?;
    Ok((!values.is_empty()).then(|| values.join(",")))
}

/// The versions among entity tags. A weak tag, and one that is no version, matches nothing.
fn versions(tags: &str) -> Result<Vec<i64>, Problem> {
    let mut versions = Vec::new();
    for tag in tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        let (strong, quoted) = tag.strip_prefix("W/").map_or((true, tag), |tag| (false, tag));
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let inner = inner.ok_or_else(|| invalid("If-Match takes * or versions in quotes, such as \"4\""))?;
        versions.extend(inner.parse::<i64>().ok().filter(|_| strong));
    }
    Ok(versions)
}

fn invalid(detail: &str) -> Problem {
    Problem::new(INVALID_CONDITION, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&HeaderName, &'static str)]) -> Result<Expected, Problem> {
        let headers = pairs.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        expected(&map)
    }

    #[test]
    fn a_condition_is_read_as_the_rfc_has_it() {
        assert_eq!(of(&[]).unwrap(), Expected::Anything);
        assert_eq!(of(&[(&IF_MATCH, "*")]).unwrap(), Expected::Existing);
        assert_eq!(of(&[(&IF_NONE_MATCH, " *")]).unwrap(), Expected::Absent);
        assert_eq!(of(&[(&IF_MATCH, "\"4\", \"5\"")]).unwrap(), Expected::OneOf(vec![4, 5]));
        assert_eq!(of(&[(&IF_MATCH, "\"4\""), (&IF_MATCH, "\"5\"")]).unwrap(), Expected::OneOf(vec![4, 5]));
        // Strong comparison; and the tag of a page is none of a product.
        assert_eq!(of(&[(&IF_MATCH, "W/\"4\", \"a3f0\"")]).unwrap(), Expected::OneOf(vec![]));
    }

    #[test]
    fn what_can_not_be_read_is_refused_and_not_ignored() {
        for wrong in [
            &[(&IF_MATCH, "4")][..],
            &[(&IF_MATCH, "\"4")],
            &[(&IF_NONE_MATCH, "\"4\"")],
            &[(&IF_MATCH, "\"4\""), (&IF_NONE_MATCH, "*")],
        ] {
            assert_eq!(of(wrong).unwrap_err().kind(), INVALID_CONDITION, "{wrong:?}");
        }
    }
}
