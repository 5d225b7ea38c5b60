//! Makes the shop's static assets what browsers get: stripped, named by their content, and compressed once.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Hexadecimal digits of the hash in a name: 64 bits, for a handful of files of one's own.
const HASH_DIGITS: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=assets");
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, Box<dyn Error>>>()?;
    files.sort();
    let mut table = format!("static ASSETS: [Asset; {}] = [\n", files.len());
    for file in files {
        table.push_str(&asset(&file, &out)?);
    }
    table.push_str("];\n");
    fs::write(out.join("assets.rs"), table)?;
    Ok(())
}

/// Writes the three encodings of `file`; its row of the table.
fn asset(file: &Path, out: &Path) -> Result<String, Box<dyn Error>> {
    let part = |part: Option<&std::ffi::OsStr>| part.and_then(|text| text.to_str()).unwrap_or_default().to_owned();
    let (stem, extension) = (part(file.file_stem()), part(file.extension()));
    let content_type = match extension.as_str() {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        other => return Err(format!("{}: no content type is known for .{other}", file.display()).into()),
    };
    let body = stripped(&fs::read_to_string(file)?).into_bytes();
    let hash = &blake3::hash(&body).to_hex()[..HASH_DIGITS];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&body)?;
    let gzip = gzip.finish()?;
    let mut brotli = Vec::new();
    brotli::BrotliCompress(&mut body.as_slice(), &mut brotli, &brotli::enc::BrotliEncoderParams::default())?;
    let mut row = format!(
        "Asset {{ name: {:?}, url: {:?}, content_type: {content_type:?}, etag: {:?}",
        format!("{stem}.{extension}"),
        format!("/assets/{stem}-{hash}.{extension}"),
        format!("\"{hash}\""),
    );
    for (encoding, bytes) in [("body", body), ("gzip", gzip), ("brotli", brotli)] {
        let path = out.join(format!("{stem}.{extension}.{encoding}"));
        fs::write(&path, bytes)?;
        let path = path.to_str().ok_or("the target folder's path is not UTF-8")?;
        write!(row, ", {encoding}: include_bytes!({path:?})")?;
    }
    Ok(row + " },\n")
}

/// Without indentation, empty lines, and lines that are a comment: `// …`, or `/* … */` on one line. What these assets are
/// written in has no text over several lines.
fn stripped(text: &str) -> String {
    let is_comment = |line: &&str| line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(line));
    lines.fold(String::with_capacity(text.len()), |all, line| all + line + "\n")
}
