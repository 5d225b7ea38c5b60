//! Which encoding a client gets (RFC 9110, section 12.5.3).

use http::HeaderValue;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it was rendered.
    Identity,
    /// `gzip`: what everybody understands.
    Gzip,
    /// `br`: the smallest.
    Brotli,
}

impl Encoding {
    /// The value of `Content-Encoding`; none for the body as it was rendered.
    pub fn header(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Brotli => Some(HeaderValue::from_static("br")),
        }
    }
}

/// The encodings that a client takes. It is always given the body as it was rendered where it takes none of the others,
/// also if it refused that: a page is better than a 406.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encodings {
    /// Whether it takes `gzip`.
    pub gzip: bool,
    /// Whether it takes `br`.
    pub brotli: bool,
}

impl Encodings {
    /// No encoding at all: what a client without `Accept-Encoding` is given.
    pub const NONE: Self = Self { gzip: false, brotli: false };

    /// What `Accept-Encoding` says; its fields joined by commas where it came several times. Parts that make no sense are
    /// passed over. Of what a client takes at all it gets the smallest, whatever it likes best.
    pub fn accepted(header: &str) -> Self {
        let (mut gzip, mut brotli, mut rest) = (None, None, false);
        for part in header.split(',') {
            let mut fields = part.split(';');
            let name = fields.next().unwrap_or_default().trim();
            let takes = !fields.any(refuses);
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                gzip = Some(takes);
            } else if name.eq_ignore_ascii_case("br") {
                brotli = Some(takes);
            } else if name == "*" {
                rest = takes;
            }
        }
        Self { gzip: gzip.unwrap_or(rest), brotli: brotli.unwrap_or(rest) }
    }
}

/// Whether a parameter is a weight of zero: `q=0`, `q=0.000`.
fn refuses(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_encoding_is_read_as_rfc_9110_has_it() {
        let both = Encodings { gzip: true, brotli: true };
        let gzip = Encodings { gzip: true, brotli: false };
        let brotli = Encodings { gzip: false, brotli: true };
        for (header, expected) in [
            ("gzip, deflate, br, zstd", both),
            ("GZIP;q=0.5 , BR ; q=1.0", both),
            ("*", both),
            ("*;q=0.1, br;q=0", gzip),
            ("br, gzip;q=0.000", brotli),
            ("gzip;q=0, *", brotli),
            ("x-gzip", gzip),
            ("identity", Encodings::NONE),
            ("identity;q=0, deflate", Encodings::NONE),
            ("*;q=0", Encodings::NONE),
            ("", Encodings::NONE),
            (";;,=,q=1", Encodings::NONE),
        ] {
            assert_eq!(Encodings::accepted(header), expected, "{header}");
        }
    }
}
