//! Static assets: built in, named by their content, compressed at build time (`build.rs`).
//!
//! A name never means two contents, so an answer with one may be kept for ever: `Cache-Control: immutable`.

/// A file in every encoding that browsers take.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its name in the folder `assets`.
    name: &'static str,
    /// Its path at the storefront.
    url: &'static str,
    /// As it is.
    pub(crate) body: &'static [u8],
    /// Compressed with gzip.
    pub(crate) gzip: &'static [u8],
    /// Compressed with Brotli.
    pub(crate) brotli: &'static [u8],
    /// The header `Content-Type`.
    pub(crate) content_type: &'static str,
    /// The header `ETag` of the uncompressed body, quotes included.
    pub(crate) etag: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The asset at `path`: `/assets/shop-0123456789abcdef.css`, or what follows `/assets/`. A name of another content is none.
pub(crate) fn find(path: &str) -> Option<&'static Asset> {
    let name = path.strip_prefix("/assets/").unwrap_or(path);
    ASSETS.iter().find(|asset| asset.url.strip_prefix("/assets/") == Some(name))
}

/// Where the asset `name` (`shop.css`) is found, its hash included; empty for a name that the folder does not have, which
/// the tests hold against every template.
pub(crate) fn url(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| asset.url)
}

/// Where each asset is found: all of their contents in few words.
pub(crate) fn urls() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|asset| asset.url)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_asset_is_found_by_its_hashed_name_alone_and_says_the_same_in_every_encoding() {
        for name in ["shop.css", "millpond.js", "icon.svg"] {
            let asset = find(url(name)).unwrap();
            let short = url(name).strip_prefix("/assets/").unwrap();
            assert!(find(short).is_some());
            assert!(find(name).is_none() && find(&format!("/assets/{name}")).is_none());
            let mut gunzipped = Vec::new();
            flate2::read::GzDecoder::new(asset.gzip).read_to_end(&mut gunzipped).unwrap();
            let mut unbrotlied = Vec::new();
            brotli::BrotliDecompress(&mut &*asset.brotli, &mut unbrotlied).unwrap();
            assert!(gunzipped == asset.body && unbrotlied == asset.body, "{name}");
            assert!(url(name).contains(asset.etag.trim_matches('"')));
        }
        assert_eq!(url("other.css"), "");
    }

    #[test]
    fn the_script_stays_below_three_kilobytes() {
        let script = find(url("millpond.js")).unwrap();
        assert!(
            script.gzip.len() <= 3_072,
            "millpond.js has {} bytes gzipped, at most 3072 are allowed",
            script.gzip.len()
        );
    }
}
