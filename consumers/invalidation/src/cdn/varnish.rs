//! Varnish: by xkey, or by bans where the module is missing. What it is asked is answered by `infra/varnish`.

use cache::Tag;
use hyper::{Method, Request};

use super::schedule::Limits;
use super::{Body, Cdn, joined};

/// Varnish takes header lines of 8 KiB unless it is told otherwise (`http_req_hdr_len`).
const HEADER_BYTES: usize = 7_000;

/// `PURGE` with a list of keys.
#[derive(Debug)]
pub(super) struct Xkey {
    pub(super) url: String,
    pub(super) soft: bool,
    pub(super) tags_at_once: Option<usize>,
}

impl Cdn for Xkey {
    fn limits(&self) -> Limits {
        Limits { tags: self.tags_at_once.unwrap_or(100), bytes: HEADER_BYTES }
    }

    fn request(&self, tags: &[Tag]) -> hyper::http::Result<Request<Body>> {
        let header = if self.soft { "xkey-softpurge" } else { "xkey-purge" };
        Request::builder()
            .method(Method::from_bytes(b"PURGE")?)
            .uri(&self.url)
            .header(header, joined(tags, " "))
            .body(Body::default())
    }
}

/// `BAN` with a regular expression over `Surrogate-Key`.
#[derive(Debug)]
pub(super) struct Bans {
    pub(super) url: String,
    pub(super) tags_at_once: Option<usize>,
}

impl Cdn for Bans {
    fn limits(&self) -> Limits {
        // Each object that is asked for is held against each ban: short ones.
        Limits { tags: self.tags_at_once.unwrap_or(25), bytes: HEADER_BYTES / 4 }
    }

    fn request(&self, tags: &[Tag]) -> hyper::http::Result<Request<Body>> {
        let keys: Vec<String> = tags.iter().map(|tag| literal(&tag.in_header())).collect();
        Request::builder()
            .method(Method::from_bytes(b"BAN")?)
            .uri(&self.url)
            .header("ban-tags", format!("(^|[[:space:]])({})([[:space:]]|$)", keys.join("|")))
            .body(Body::default())
    }
}

/// A regular expression for this text alone, without backslashes and spaces: those mean something to the parser of bans.
fn literal(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut all, c| {
        match c {
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | '{' | '}' | '|' | '$' => all.extend(['[', c, ']']),
            // These three are special inside of brackets, too: any character will do, a purge too many harms nobody.
            ']' | '^' | '\\' | '"' => all.push('.'),
            c => all.push(c),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_for_itself_in_a_ban() {
        assert_eq!(literal("product:eu:A.B+C/1_2-3"), "product:eu:A[.]B[+]C/1_2-3");
        assert_eq!(literal("^\\]\""), "....");
    }
}
