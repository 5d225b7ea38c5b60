//! Where an event happened, and which campaign brought the visitor.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::read::{Member, text};

/// A path is cut here, bytes.
const PATH_BYTES: usize = 512;
/// A campaign's name is cut here, bytes.
const CAMPAIGN_BYTES: usize = 256;

/// What is read of an event's `context`.
#[derive(Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct Context<'a> {
    #[serde(borrow)]
    page: Member<'a>,
    #[serde(borrow)]
    campaign: Member<'a>,
}

impl<'a> Context<'a> {
    /// This context, with what it lacks taken from the batch's.
    pub(super) fn or(self, batch: &Context<'a>) -> Self {
        Self { page: self.page.or(batch.page), campaign: self.campaign.or(batch.campaign) }
    }
}

/// What is read of an event's `properties`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Properties<'a> {
    #[serde(borrow)]
    path: Member<'a>,
    #[serde(borrow)]
    url: Member<'a>,
    #[serde(borrow)]
    search: Member<'a>,
    #[serde(borrow)]
    name: Member<'a>,
    #[serde(borrow)]
    pub(super) products: Member<'a>,
    #[serde(borrow)]
    pub(super) sku: Member<'a>,
    #[serde(borrow)]
    pub(super) product_id: Member<'a>,
    #[serde(borrow)]
    pub(super) quantity: Member<'a>,
}

fn members(member: Member<'_>) -> Properties<'_> {
    member
        .filter(|raw| raw.get().starts_with('{'))
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// The page's path without query: what the properties say, else the context, else what their URLs hold.
pub(super) fn path(properties: &Properties<'_>, context: &Context<'_>) -> Option<String> {
    let page = members(context.page);
    [properties.path, page.path, properties.url, page.url].into_iter().filter_map(text).find_map(|text| path_of(&text))
}

/// The campaign: its name in the context, else `utm_campaign` in what the page was asked for with.
pub(super) fn campaign(properties: &Properties<'_>, context: &Context<'_>) -> Option<String> {
    let named = text(members(context.campaign).name).filter(|name| !name.is_empty());
    if let Some(name) = named {
        return Some(cut(&name, CAMPAIGN_BYTES));
    }
    let page = members(context.page);
    [page.search, properties.search, page.url, properties.url]
        .into_iter()
        .filter_map(text)
        .find_map(|text| utm_campaign(&text))
}

fn path_of(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => url,
    };
    let path = path.split(['?', '#']).next().unwrap_or("");
    match path.chars().next() {
        None => None,
        Some('/') => Some(cut(path, PATH_BYTES)),
        Some(_) => Some(cut(&format!("/{path}"), PATH_BYTES)),
    }
}

fn utm_campaign(url_or_search: &str) -> Option<String> {
    let (_, query) = url_or_search.split_once('?')?;
    let query = query.split('#').next().unwrap_or("");
    let value = query.split('&').find_map(|pair| pair.strip_prefix("utm_campaign="))?.replace('+', " ");
    let name = percent_decode_str(&value).decode_utf8_lossy();
    (!name.is_empty()).then(|| cut(&name, CAMPAIGN_BYTES))
}

/// `text` without control characters (PostgreSQL refuses one of them, terminals obey the rest), at most `max` bytes, cut
/// between characters.
pub(super) fn cut(text: &str, max: usize) -> String {
    let text: Cow<'_, str> = if text.chars().any(char::is_control) {
        text.chars().filter(|c| !c.is_control()).collect()
    } else {
        Cow::Borrowed(text)
    };
    text[..text.floor_char_boundary(max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_paths_and_urls_without_query() {
        for (from, path) in [
            ("/mugs?a=1#top", Some("/mugs")),
            ("https://shop.example/mugs/red?x", Some("/mugs/red")),
            ("https://shop.example", Some("/")),
            ("mugs", Some("/mugs")),
            ("?a=1", None),
            ("", None),
        ] {
            assert_eq!(path_of(from).as_deref(), path, "{from}");
        }
    }

    #[test]
    fn a_campaign_is_decoded_from_a_query() {
        for (from, campaign) in [
            ("?utm_source=mail&utm_campaign=black+friday%21", Some("black friday!")),
            ("https://a.example/?utm_campaign=x#utm_campaign=y", Some("x")),
            ("?utm_campaign=", None),
            ("utm_campaign=x", None),
        ] {
            assert_eq!(utm_campaign(from).as_deref(), campaign, "{from}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_loses_control_characters() {
        assert_eq!(cut("größe", 4), "gr\u{f6}");
        assert_eq!(cut("a\u{0}b", 4), "ab");
    }
}
