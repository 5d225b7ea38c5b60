//! Bodies, one for each encoding.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;

use super::config::PagesConfig;
use super::page::{Body, Page, Rendered};
use crate::tags::Tag;

/// The buffer between brotli and its output, bytes.
const BUFFER: usize = 4_096;

/// Brotli's window, as a power of two: 4 MiB, its own default.
const WINDOW: u32 = 22;

/// How hard to try, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    min_bytes: usize,
    gzip_level: u32,
    brotli_quality: u32,
}

impl Effort {
    pub(crate) fn new(config: &PagesConfig) -> Self {
        Self {
            min_bytes: config.compress_min_bytes,
            gzip_level: config.gzip_level.min(9),
            brotli_quality: config.brotli_quality.min(11),
        }
    }
}

/// The page with all its bodies. `tags` are its own. Compressing takes milliseconds, and so a thread that may be blocked.
pub(crate) async fn page(rendered: Rendered, tags: Vec<Tag>, effort: Effort) -> Arc<Page> {
    let Rendered { status, content_type, headers, body, tags: _ } = rendered;
    let (identity, gzip, brotli) = if body.len() >= effort.min_bytes && gets_smaller(&content_type) {
        let plain = body.clone();
        // It ends by a panic alone, and the page is as good without.
        tokio::task::spawn_blocking(move || encoded(body, effort)).await.unwrap_or_else(|_| (Body::new(plain), None, None))
    } else {
        (Body::new(body), None, None)
    };
    Arc::new(Page { status, content_type, headers, tags, identity, gzip, brotli })
}

fn encoded(body: Bytes, effort: Effort) -> (Body, Option<Body>, Option<Body>) {
    let useful = |encoded: std::io::Result<Vec<u8>>| {
        let encoded = encoded.ok().filter(|encoded| encoded.len() < body.len())?;
        Some(Body::new(Bytes::from(encoded.into_boxed_slice())))
    };
    let (gzip, brotli) = (useful(gzipped(&body, effort.gzip_level)), useful(brotlied(&body, effort.brotli_quality)));
    (Body::new(body), gzip, brotli)
}

fn gzipped(body: &[u8], level: u32) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::new(level));
    encoder.write_all(body)?;
    encoder.finish()
}

fn brotlied(body: &[u8], quality: u32) -> std::io::Result<Vec<u8>> {
    let mut encoder = brotli::CompressorWriter::new(Vec::with_capacity(body.len() / 4), BUFFER, quality, WINDOW);
    encoder.write_all(body)?;
    encoder.flush()?;
    Ok(encoder.into_inner())
}

/// Texts do; pictures, fonts and archives are compressed already.
fn gets_smaller(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || ["application/json", "application/javascript", "application/xml", "application/x-ndjson"].contains(&kind.as_str())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http::StatusCode;

    use super::super::encoding::{Encoding, Encodings};
    use super::*;

    fn rendered(content_type: &'static str, body: &'static str, times: usize) -> Rendered {
        Rendered {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static(content_type),
            headers: Vec::new(),
            body: body.repeat(times).into(),
            tags: Vec::new(),
        }
    }

    #[tokio::test]
    async fn every_encoding_decodes_to_what_was_rendered_and_has_a_validator_of_its_own() {
        let effort = Effort::new(&PagesConfig::default());
        let page = page(rendered("text/html; charset=utf-8", "<li>mug</li>", 500), Vec::new(), effort).await;
        let (gzip, brotli) = (page.gzip.as_ref().unwrap(), page.brotli.as_ref().unwrap());
        assert!(brotli.bytes.len() < gzip.bytes.len() && gzip.bytes.len() < page.identity.bytes.len());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*gzip.bytes).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, *page.identity.bytes);
        plain.clear();
        brotli::Decompressor::new(&*brotli.bytes, BUFFER).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, *page.identity.bytes);
        let etags = [&page.identity.etag, &gzip.etag, &brotli.etag];
        assert!(etags[0] != etags[1] && etags[1] != etags[2] && etags[0] != etags[2]);
        assert_eq!(page.encoding(Encodings { gzip: true, brotli: true }), Encoding::Brotli);
        assert_eq!(page.encoding(Encodings { gzip: true, brotli: false }), Encoding::Gzip);
        assert_eq!(page.encoding(Encodings::NONE), Encoding::Identity);
    }

    #[tokio::test]
    async fn what_would_not_get_smaller_is_kept_once() {
        let effort = Effort::new(&PagesConfig::default());
        for (content_type, times) in [("text/html", 1), ("image/webp", 500)] {
            let page = page(rendered(content_type, "<li>mug</li>", times), Vec::new(), effort).await;
            assert!(page.gzip.is_none() && page.brotli.is_none(), "{content_type}");
            assert_eq!(page.encoding(Encodings { gzip: true, brotli: true }), Encoding::Identity);
        }
    }
}
