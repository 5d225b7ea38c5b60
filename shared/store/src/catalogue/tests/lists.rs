//! Lists, searches and collections.

use events::Band;

use super::*;

fn titled(text: &str, title: &str, collections: &[&str]) -> ProductEdit {
    ProductEdit { title: title.to_owned(), collections: names(collections), ..edit(text, 100) }
}

async fn listed(region: &Region, search: &Search) -> Page {
    list(&primary(region), region.number, search).await.unwrap()
}

/// The SKUs of every page, one after the other; no page is longer than it may be.
async fn all_pages(region: &Region, search: Search) -> Vec<String> {
    let mut search = search;
    let mut skus = Vec::new();
    loop {
        let page = listed(region, &search).await;
        assert!(page.items.len() <= search.limit as usize);
        skus.extend(page.items.iter().map(|item| item.sku.to_string()));
        match page.next {
            // As it comes back in an address.
            Some(next) => search.after = Some(next.to_string().parse().unwrap()),
            None => return skus,
        }
    }
}

fn search(q: &str) -> Search {
    Search { q: Some(q.to_owned()), limit: 50, ..Search::default() }
}

async fn a_list_is_in_the_order_of_titles_and_its_pages_meet_without_a_gap(region: Region) {
    let edits: Vec<ProductEdit> =
        (0..25).map(|n| titled(&format!("S-{n:02}"), &format!("Title {:02}", (n * 7) % 5), &["c"])).collect();
    import_now(&region, &edits, "one").await.unwrap();
    import_now(&beside(&region), &[titled("OTHER", "Title 00", &["c"])], "one").await.unwrap();
    let mut expected: Vec<(String, String)> =
        edits.iter().map(|edit| (edit.title.clone(), edit.sku.to_string())).collect();
    expected.sort();
    let expected: Vec<String> = expected.into_iter().map(|(_, sku)| sku).collect();
    for limit in [1, 4, 5, 24, 25, 26] {
        let all = all_pages(&region, Search { limit, ..Search::default() }).await;
        assert_eq!(all, expected, "limit {limit}");
        let collection = Some("c".parse().unwrap());
        assert_eq!(all_pages(&region, Search { collection, limit, ..Search::default() }).await, expected);
    }
    assert_eq!(listed(&region, &Search { limit: 0, ..Search::default() }).await.items.len(), 1);
    let none = Search { collection: Some("d".parse().unwrap()), limit: 5, ..Search::default() };
    assert_eq!(listed(&region, &none).await, Page::default());
}

/// What is deleted, and what comes, between two pages.
async fn a_page_goes_on_where_the_last_one_ended_whatever_changed_before_it(region: Region) {
    let edits: Vec<ProductEdit> = ["a", "b", "c", "d"].map(|t| titled(&t.to_uppercase(), t, &[])).to_vec();
    import_now(&region, &edits, "one").await.unwrap();
    let first = listed(&region, &Search { limit: 2, ..Search::default() }).await;
    withdraw(&region, &sku("B"), &Expected::Anything, &SystemClock).await.unwrap();
    put(&region, &titled("AA", "aa", &[]), &Expected::Anything, &SystemClock).await.unwrap();
    let rest = all_pages(&region, Search { after: first.next, limit: 2, ..Search::default() }).await;
    assert_eq!(rest, ["C", "D"]);
}

async fn what_a_list_shows_is_what_it_is_now(region: Region) {
    let mug = ProductEdit { image: Some("/mug.jpg".to_owned()), low_threshold: Some(5), ..counted("MUG", 1_250, 3) };
    import_now(&region, &[mug, edit("PEN", 100)], "one").await.unwrap();
    let page = listed(&region, &Search { limit: 10, ..Search::default() }).await;
    let mug = Listing {
        sku: sku("MUG"),
        title: "The MUG".to_owned(),
        image: Some("/mug.jpg".to_owned()),
        price: eur(1_250),
        band: Band::Low,
    };
    assert_eq!(page.items[0], mug);
    assert_eq!((page.items[1].sku.as_str(), page.items[1].band), ("PEN", Band::Out), "nobody ever counted it");
    let known = availability(&primary(&region), region.number, &sku("MUG")).await.unwrap();
    assert_eq!(known, Some(Availability { band: Band::Low, version: 1 }));
    assert_eq!(availability(&primary(&region), region.number, &sku("PEN")).await.unwrap(), None);

    let moved = titled("MUG", "A mug", &["kitchen"]);
    put(&region, &ProductEdit { price: eur(1_300), ..moved }, &Expected::Anything, &SystemClock).await.unwrap();
    let kitchen = Search { collection: Some("kitchen".parse().unwrap()), limit: 10, ..Search::default() };
    let page = listed(&region, &kitchen).await;
    assert_eq!((page.items.len(), page.items[0].title.as_str(), page.items[0].price), (1, "A mug", eur(1_300)));
    let home = Search { collection: Some("home".parse().unwrap()), limit: 10, ..Search::default() };
    assert_eq!(listed(&region, &home).await.items.len(), 1, "it left its old collection");
}

async fn a_search_finds_beginnings_of_words_of_titles_and_skus(region: Region) {
    let edits = [
        titled("MUG-BLUE", "Blue mug", &["kitchen"]),
        titled("MUG-RED", "Red mug, großer Henkel", &["kitchen", "gifts"]),
        titled("PEN-1", "A blue pen", &["office"]),
    ];
    import_now(&region, &edits, "one").await.unwrap();
    for (q, expected) in [
        ("blue", vec!["PEN-1", "MUG-BLUE"]),
        ("BLU", vec!["PEN-1", "MUG-BLUE"]),
        ("mug blue", vec!["MUG-BLUE"]),
        ("pen-1", vec!["PEN-1"]),
        ("GROSSER", vec![]),
        ("großer hen", vec!["MUG-RED"]),
        ("lue", vec![]),
        ("blue green", vec![]),
        ("'%_\\", vec![]),
        ("  ", vec!["PEN-1", "MUG-BLUE", "MUG-RED"]),
    ] {
        assert_eq!(all_pages(&region, search(q)).await, expected, "{q}");
    }
    let gifts = Search { collection: Some("gifts".parse().unwrap()), ..search("mug") };
    assert_eq!(all_pages(&region, gifts).await, ["MUG-RED"]);
    assert_eq!(all_pages(&region, Search { limit: 1, ..search("mug") }).await, ["MUG-BLUE", "MUG-RED"]);
}

/// More products have the word than are looked at one by one; the other way gives the same.
async fn a_search_for_a_common_word_goes_along_the_list(region: Region) {
    let edits: Vec<ProductEdit> = (0..1_500)
        .map(|n| {
            titled(&format!("S-{n:04}"), &format!("Thing {n:04} {}", if n % 3 == 0 { "big" } else { "small" }), &[])
        })
        .collect();
    import_now(&region, &edits, "one").await.unwrap();
    let expected: Vec<String> = edits.iter().map(|edit| edit.sku.to_string()).collect();
    assert_eq!(all_pages(&region, Search { limit: 200, ..search("thing") }).await, expected);
    let big: Vec<String> = expected.iter().step_by(3).cloned().collect();
    assert_eq!(all_pages(&region, Search { limit: 100, ..search("thing big") }).await, big);
    assert_eq!(all_pages(&region, search("thing huge")).await, Vec::<String>::new());
}

/// What is looked for stands at the end of the list.
async fn a_page_of_a_search_ends_after_so_many_products_and_names_the_next(region: Region) {
    let edits: Vec<ProductEdit> = (0..1_200)
        .map(|n| {
            titled(&format!("S-{n:04}"), &format!("Thing {n:04} {}", if n < 1_190 { "small" } else { "big" }), &[])
        })
        .collect();
    import_now(&region, &edits, "one").await.unwrap();
    let mut search = Search { limit: 5, ..search("thing") };
    let mut found = Vec::new();
    let mut pages = 0;
    loop {
        let page = super::super::list::list_within(&primary(&region), region.number, &search, 3).await.unwrap();
        assert!(page.items.len() <= 3, "no more than were looked at");
        found.extend(page.items.into_iter().map(|item| item.sku.to_string()));
        pages += 1;
        match page.next {
            Some(next) => search.after = Some(next),
            None => break,
        }
    }
    assert_eq!((found.len(), pages), (1_200, 401));
}

async fn collections_are_those_that_list_something_by_name(region: Region) {
    let all = async || collections(&primary(&region), region.number).await.unwrap();
    assert_eq!(all().await, []);
    import_now(&region, &[titled("A", "a", &["b", "a"]), titled("B", "b", &["b", "z-9"])], "one").await.unwrap();
    assert_eq!(all().await, names(&["a", "b", "z-9"]));
    withdraw(&region, &sku("B"), &Expected::Anything, &SystemClock).await.unwrap();
    assert_eq!(all().await, names(&["a", "b"]));
    assert_eq!(collections(&primary(&beside(&region)), RegionNumber(2)).await.unwrap(), []);
}

on_both_databases!(
    a_list_is_in_the_order_of_titles_and_its_pages_meet_without_a_gap,
    a_page_goes_on_where_the_last_one_ended_whatever_changed_before_it,
    what_a_list_shows_is_what_it_is_now,
    a_search_finds_beginnings_of_words_of_titles_and_skus,
    a_search_for_a_common_word_goes_along_the_list,
    a_page_of_a_search_ends_after_so_many_products_and_names_the_next,
    collections_are_those_that_list_something_by_name,
);
