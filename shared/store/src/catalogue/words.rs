//! What a product is sorted and found by: pure.

use std::collections::BTreeSet;

use model::Sku;

/// Characters of a title that lists are sorted by.
pub(super) const SORT_KEY_CHARS: usize = 64;
/// Characters of a word that count.
const WORD_CHARS: usize = 32;
/// Words that a product is found by; the first ones of its title.
const WORDS_OF_PRODUCT: usize = 40;
/// Words of a search that count.
const WORDS_OF_SEARCH: usize = 6;

/// The place of a title among others: in lower case, then by the bytes of its text.
pub(super) fn sort_key(title: &str) -> String {
    let lower = title.trim().to_lowercase();
    lower.chars().take(SORT_KEY_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The words of a title and of a SKU.
pub(super) fn of_product(title: &str, sku: &Sku) -> BTreeSet<String> {
    split(sku.as_str()).chain(split(title)).take(WORDS_OF_PRODUCT).collect()
}

/// The words that somebody searches for, in the order in which they were written, each once.
pub(super) fn of_search(q: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in split(q) {
        if !words.contains(&word) && words.len() < WORDS_OF_SEARCH {
            words.push(word);
        }
    }
    words
}

/// The bounds of everything that begins with `word`, compared byte by byte: from the first, below the second.
pub(super) fn range(word: &str) -> (String, String) {
    (word.to_owned(), format!("{word}{}", char::MAX))
}

fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.to_lowercase().chars().take(WORD_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_found_by_the_words_of_its_title_and_its_sku_in_lower_case() {
        let words = of_product("The Mug of Noon, Ø 9 cm", &"MUG-NOON/9".parse().unwrap());
        let expected = ["9", "cm", "mug", "noon", "of", "the", "ø"];
        assert_eq!(words.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_search_is_cut_into_few_short_words_each_once() {
        assert_eq!(of_search(" Blue  blue-MUG "), ["blue", "mug"]);
        assert_eq!(of_search("!?"), Vec::<String>::new());
        assert_eq!(of_search("a b c d e f g").len(), WORDS_OF_SEARCH);
        assert_eq!(of_search(&"x".repeat(1_000))[0].len(), WORD_CHARS);
    }

    #[test]
    fn a_range_holds_what_begins_with_the_word_and_nothing_else() {
        let (from, below) = range("mug");
        for word in ["mug", "mugs", "mugø", "mug\u{ffff}"] {
            assert!(*from <= *word && *word < *below, "{word}");
        }
        for word in ["muf", "muh", "mu"] {
            assert!(!(*from <= *word && *word < *below), "{word}");
        }
    }
}
