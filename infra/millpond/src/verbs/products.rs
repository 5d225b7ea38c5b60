//! Files of products, as the verbs read them.

use std::path::Path;

use anyhow::Context as _;
use model::Currency;
use store::catalogue::ProductEdit;
use storefront::catalogue::file::{self, Bounds, Format};

/// What is wrong with a file, line by line, in words.
pub(crate) type BadLines = Vec<String>;

/// Reads a whole file: NDJSON where its name ends in `.ndjson` or `.jsonl`, else CSV, whose lines without a currency have this
/// one.
pub(crate) fn read(path: &Path, currency: Currency) -> anyhow::Result<Result<Vec<ProductEdit>, BadLines>> {
    let file = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    let is_ndjson = path.extension().is_some_and(|end| end == "ndjson" || end == "jsonl");
    Ok(parse(if is_ndjson { Format::Ndjson } else { Format::Csv }, &file, currency))
}

/// As [`read`], of a file that is in memory.
pub(crate) fn parse(format: Format, file: &[u8], currency: Currency) -> Result<Vec<ProductEdit>, BadLines> {
    let products = file::parse(format, file, Some(currency), Bounds::NONE);
    products.map_err(|faults| faults.finish().1.iter().map(file::describe).collect())
}
