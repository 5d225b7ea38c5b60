//! Bodies made smaller, once for all readers.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::config::PagesConfig;
use super::page::{Body, Page, Rendered};

/// Brotli's window, as a power of two: pages are smaller than 4 MiB.
const BROTLI_WINDOW: i32 = 22;

/// What of the body an encoding has to save to be worth a header: an eighth.
const WORTH: usize = 8;

/// The page with a body in each encoding that makes it smaller. Takes some milliseconds for a large one.
pub(crate) fn encoded(rendered: Rendered, config: &PagesConfig) -> Page {
    let body = rendered.body;
    let small = body.len() < config.compress_min_bytes || !is_text(rendered.content_type.as_bytes());
    let smaller = |encoded: Option<Vec<u8>>| {
        let encoded = encoded.filter(|encoded| encoded.len() <= body.len() - body.len() / WORTH)?;
        Some(Body::new(&encoded))
    };
    let (gzip, brotli) =
        if small { (None, None) } else { (smaller(gzip(&body, config.gzip_level)), smaller(brotli(&body, config))) };
    Page {
        status: rendered.status,
        content_type: rendered.content_type,
        headers: rendered.headers,
        tags: rendered.tags,
        gzip,
        brotli,
        identity: Body::new(&body),
    }
}

/// What is compressed already grows.
fn is_text(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.starts_with(b"text/")
        || essence.ends_with(b"json")
        || essence.ends_with(b"xml")
        || essence.ends_with(b"javascript")
}

fn gzip(body: &[u8], level: u32) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(level.min(9)));
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

fn brotli(body: &[u8], config: &PagesConfig) -> Option<Vec<u8>> {
    let quality = i32::try_from(config.brotli_quality.min(11)).ok()?;
    let params = brotli::enc::BrotliEncoderParams { quality, lgwin: BROTLI_WINDOW, ..Default::default() };
    let mut encoded = Vec::with_capacity(body.len() / 4);
    brotli::BrotliCompress(&mut &*body, &mut encoded, &params).ok()?;
    Some(encoded)
}
