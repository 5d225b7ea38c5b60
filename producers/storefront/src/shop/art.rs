//! A picture for an article that has none: tiles of plain shapes, drawn from its SKU.

use std::fmt::Write as _;

/// Background and three colours that go together.
const PALETTES: [[&str; 4]; 6] = [
    ["#e6eee9", "#2f6f6a", "#e0a458", "#8fb8a8"],
    ["#f4e9dc", "#b9503a", "#4f8585", "#f0c27a"],
    ["#e5ecf5", "#35578c", "#eaa21e", "#9bb4d8"],
    ["#f0e7ee", "#76426a", "#df9377", "#b9a3ca"],
    ["#edf1e1", "#567638", "#d99c58", "#a9bf8a"],
    ["#fbeee6", "#98492f", "#457b9d", "#e8b699"],
];
const COLUMNS: u64 = 4;
const ROWS: u64 = 3;
const TILE: u64 = 100;

/// A drawing of 400 × 300 as inline SVG, the same for the same `sku` for ever. It says nothing, so assistive technology is
/// told to pass over it. Colours are attributes, not styles, which the pages' policy forbids inline.
pub(crate) fn drawing(sku: &str) -> String {
    let mut chance = Chance::of(sku);
    let [ground, colours @ ..] = PALETTES[chance.below(PALETTES.len())];
    let (width, height) = (COLUMNS * TILE, ROWS * TILE);
    let mut svg = format!(
        "<svg class=\"art\" viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\" focusable=\"false\">\
         <path fill=\"{ground}\" d=\"M0 0h{width}v{height}H0z\"/>"
    );
    // One path for each colour: a third of the bytes of a shape each.
    let mut paths = [String::new(), String::new(), String::new()];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let colour = chance.below(colours.len());
            tile(&mut paths[colour], chance.below(9), column * TILE, row * TILE);
        }
    }
    for (colour, path) in colours.iter().zip(paths) {
        // Writing into a `String` can't fail.
        let _ = write!(svg, "<path fill=\"{colour}\" d=\"{path}\"/>");
    }
    svg + "</svg>"
}

/// One tile's shape, its upper left corner at (`x`, `y`).
fn tile(path: &mut String, shape: usize, x: u64, y: u64) {
    let (right, bottom, middle) = (x + TILE, y + TILE, x + TILE / 2);
    let _ = match shape {
        0 => write!(path, "M{x} {y}h100a100 100 0 0 1-100 100z"),
        1 => write!(path, "M{right} {y}v100a100 100 0 0 1-100-100z"),
        2 => write!(path, "M{right} {bottom}h-100a100 100 0 0 1 100-100z"),
        3 => write!(path, "M{x} {bottom}v-100a100 100 0 0 1 100 100z"),
        4 => write!(path, "M{middle} {y}a50 50 0 0 1 0 100 50 50 0 0 1 0-100z"),
        5 => write!(path, "M{x} {y}h100a50 50 0 0 1-100 0z"),
        6 => write!(path, "M{x} {bottom}a50 50 0 0 1 100 0z"),
        7 => write!(path, "M{x} {y}h100v100h-100z"),
        _ => Ok(()),
    };
}

/// Numbers that follow from a text: FNV-1a of it as the seed of `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn of(text: &str) -> Self {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    /// The next one, below `bound`, which is small.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed >> 33) % bound.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_is_the_same_for_the_same_sku_another_for_another_and_small() {
        assert_eq!(drawing("MUG"), drawing("MUG"));
        assert_ne!(drawing("MUG"), drawing("MUG-2"));
        for number in 0..100 {
            let svg = drawing(&format!("SKU-{number}"));
            assert!(svg.len() < 1_000, "{} bytes", svg.len());
            assert!(!svg.contains("style"));
        }
    }
}
