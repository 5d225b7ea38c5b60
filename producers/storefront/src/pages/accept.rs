//! Which form a client asks for (RFC 9110, section 12.5.1), and which encodings.

use axum::http::{HeaderMap, HeaderName, header};
use cache::Encodings;

/// A form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For programs.
    Json,
    /// For people.
    Html,
}

impl Form {
    /// What a path answers with where the client does not mind.
    pub(crate) fn of_path(path: &str) -> Self {
        if path == "/v1" || path.starts_with("/v1/") { Self::Json } else { Self::Html }
    }
}

/// The form that `Accept` likes better; `native` where it likes both alike, or says nothing.
pub(crate) fn form(headers: &HeaderMap, native: Form) -> Form {
    let (mut html, mut json) = (Weight::default(), Weight::default());
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(quality).unwrap_or(1.0);
            match name.to_ascii_lowercase().as_str() {
                "text/html" | "application/xhtml+xml" => html.says(3, quality),
                "text/*" => html.says(2, quality),
                "application/json" | "application/problem+json" => json.says(3, quality),
                "application/*" => json.says(2, quality),
                "*/*" => {
                    html.says(1, quality);
                    json.says(1, quality);
                }
                _ => {}
            }
        }
    }
    if html.quality > json.quality {
        Form::Html
    } else if json.quality > html.quality {
        Form::Json
    } else {
        native
    }
}

/// What the most specific range said so far.
#[derive(Default)]
struct Weight {
    specific: u8,
    quality: f32,
}

impl Weight {
    fn says(&mut self, specific: u8, quality: f32) {
        if specific > self.specific {
            *self = Self { specific, quality };
        } else if specific == self.specific {
            self.quality = self.quality.max(quality);
        }
    }
}

fn quality(parameter: &str) -> Option<f32> {
    let (name, value) = parameter.split_once('=')?;
    let value: f32 = value.trim().parse().ok()?;
    name.trim().eq_ignore_ascii_case("q").then(|| value.clamp(0.0, 1.0))
}

/// The encodings that the client takes.
pub(crate) fn encodings(headers: &HeaderMap) -> Encodings {
    joined(headers, &header::ACCEPT_ENCODING).map_or(Encodings::NONE, |accepted| Encodings::accepted(&accepted))
}

/// A header's fields, joined where it came several times (RFC 9110, section 5.3).
pub(crate) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<std::borrow::Cow<'a, str>> {
    let mut fields = headers.get_all(name).iter().filter_map(|field| field.to_str().ok());
    let first = fields.next()?;
    match fields.next() {
        None => Some(first.into()),
        Some(second) => Some(fields.fold(format!("{first},{second}"), |all, field| format!("{all},{field}")).into()),
    }
}

/// Whether `If-None-Match` names `etag`, which has its quotes: compared weakly (RFC 9110, section 13.1.2).
pub(crate) fn names(if_none_match: &str, etag: &str) -> bool {
    let held = |candidate: &str| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag;
    if_none_match.split(',').map(str::trim).any(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(accept: &[&str], native: Form) -> Form {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        form(&headers, native)
    }

    #[test]
    fn the_form_is_what_accept_likes_better() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for native in [Form::Json, Form::Html] {
            assert_eq!(asks(&[browser], native), Form::Html);
            assert_eq!(asks(&["application/json"], native), Form::Json);
            assert_eq!(asks(&["application/problem+json;q=0.5, text/html;q=0.4"], native), Form::Json);
            assert_eq!(asks(&["application/json;q=0.2", "TEXT/HTML ; Q=0.3"], native), Form::Html);
            assert_eq!(asks(&["text/html;q=0, */*"], native), Form::Json);
            for indifferent in
                [&[][..], &["*/*"], &["image/png"], &["application/*, text/*"], &["text/html, application/json"]]
            {
                assert_eq!(asks(indifferent, native), native, "{indifferent:?}");
            }
        }
    }

    #[test]
    fn a_header_that_came_several_times_is_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(joined(&headers, &header::IF_NONE_MATCH), None);
        for field in ["\"a\"", "\"b\"", "\"c\""] {
            headers.append(header::IF_NONE_MATCH, field.parse().unwrap());
        }
        assert_eq!(joined(&headers, &header::IF_NONE_MATCH).unwrap(), "\"a\",\"b\",\"c\"");
    }
}
