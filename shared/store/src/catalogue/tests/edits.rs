//! Edits of single products.

use std::time::Duration;

use super::*;

async fn put_now(region: &Region, edit: &ProductEdit, expected: Expected) -> Result<Edited, EditError> {
    put(region, edit, &expected, &SystemClock).await
}

async fn patch_now(region: &Region, text: &str, change: Patch, expected: Expected) -> Result<Edited, EditError> {
    patch(region, &sku(text), &change, &expected, &SystemClock).await
}

async fn withdraw_now(region: &Region, text: &str, expected: Expected) -> Result<(), EditError> {
    withdraw(region, &sku(text), &expected, &SystemClock).await
}

fn refused(outcome: Result<Edited, EditError>) -> Option<i64> {
    match outcome {
        Err(EditError::Precondition { current }) => current,
        other => panic!("no refusal: {other:?}"),
    }
}

/// Created, read back, changed, changed into what it is.
async fn a_product_is_what_was_put_and_its_version_counts_changes(region: Region) {
    let pen = ProductEdit {
        title: "A pen".to_owned(),
        description: "Writes.\nBlue.".to_owned(),
        image: Some("https://shop.example/pen.jpg".to_owned()),
        collections: names(&["office", "gifts"]),
        ..edit("PEN", 250)
    };
    let created = put_now(&region, &pen, Expected::Anything).await.unwrap();
    assert_eq!((created.version, created.created), (1, true));
    let read = shown(&region, "PEN").await.unwrap();
    let Product { version, title, description, image, collections, price, .. } = read;
    assert_eq!((version, title, description), (1, pen.title.clone(), pen.description.clone()));
    assert_eq!((image, collections, price), (pen.image.clone(), pen.collections.clone(), pen.price));

    let other = ProductEdit { collections: names(&["office"]), image: None, ..pen.clone() };
    let changed = put_now(&region, &other, Expected::Anything).await.unwrap();
    assert_eq!((changed.version, changed.created), (2, false));
    let same = put_now(&region, &other, Expected::Anything).await.unwrap();
    assert_eq!((same.version, same.created), (2, false));
    let told = [(1, vec!["gifts".to_owned(), "office".to_owned()]), (2, vec!["gifts".to_owned(), "office".to_owned()])];
    assert_eq!(changes(&region).await, told, "collections that listed it before are named too");
    assert_eq!(prices(&region, "PEN").await, (vec![], Some(250)), "the price was never another one");
    assert_eq!(shown(&beside(&region), "PEN").await, None, "a region sells its own");
}

async fn an_edit_of_a_version_that_is_gone_is_refused_with_the_current_one(region: Region) {
    assert_eq!(refused(put_now(&region, &edit("PEN", 100), Expected::Existing).await), None);
    assert_eq!(refused(put_now(&region, &edit("PEN", 100), Expected::OneOf(vec![1])).await), None);
    assert_eq!(shown(&region, "PEN").await, None);
    put_now(&region, &edit("PEN", 100), Expected::Absent).await.unwrap();
    assert_eq!(refused(put_now(&region, &edit("PEN", 100), Expected::Absent).await), Some(1));
    put_now(&region, &edit("PEN", 110), Expected::OneOf(vec![7, 1])).await.unwrap();
    assert_eq!(refused(put_now(&region, &edit("PEN", 120), Expected::OneOf(vec![1])).await), Some(2));
    let cheaper = Patch { price_minor: Some(90), ..Patch::default() };
    assert_eq!(refused(patch_now(&region, "PEN", cheaper, Expected::OneOf(vec![1])).await), Some(2));
    let gone = withdraw_now(&region, "PEN", Expected::OneOf(vec![1])).await;
    assert!(matches!(gone, Err(EditError::Precondition { current: Some(2) })));
    assert_eq!(prices(&region, "PEN").await, (vec![100], Some(110)));
    assert_eq!(changes(&region).await.len(), 2);
}

/// Its first answer was lost on the way: the same edit for the same version is no lost update.
async fn an_edit_that_is_sent_again_is_not_refused(region: Region) {
    put_now(&region, &edit("PEN", 100), Expected::Anything).await.unwrap();
    let expected = || Expected::OneOf(vec![1]);
    for _ in 0..2 {
        let edited = put_now(&region, &edit("PEN", 110), expected()).await.unwrap();
        assert_eq!(edited.version, 2);
    }
    put_now(&region, &edit("PEN", 120), Expected::Anything).await.unwrap();
    put_now(&region, &edit("PEN", 110), Expected::Anything).await.unwrap();
    assert_eq!(refused(put_now(&region, &edit("PEN", 110), expected()).await), Some(4), "others were there meanwhile");
}

async fn a_patch_changes_the_fields_that_it_names(region: Region) {
    let title = || Patch { title: Some("Another".to_owned()), ..Patch::default() };
    let unknown = patch_now(&region, "PEN", title(), Expected::Anything).await;
    assert!(matches!(unknown, Err(EditError::Unknown(_))));
    let pen = ProductEdit { image: Some("/pen.jpg".to_owned()), ..edit("PEN", 100) };
    put_now(&region, &pen, Expected::Anything).await.unwrap();
    let titled = patch_now(&region, "PEN", title(), Expected::Anything).await.unwrap();
    assert_eq!((titled.version, titled.created), (2, false));
    assert_eq!(titled.product, ProductEdit { title: "Another".to_owned(), ..pen.clone() });
    let repriced = Patch { price_minor: Some(90), image: Some(None), ..Patch::default() };
    patch_now(&region, "PEN", repriced, Expected::OneOf(vec![2])).await.unwrap();
    let read = shown(&region, "PEN").await.unwrap();
    assert_eq!((read.version, read.title.as_str(), read.image, read.price), (3, "Another", None, eur(90)));
    let nothing = patch_now(&region, "PEN", Patch::default(), Expected::Anything).await.unwrap();
    assert_eq!(nothing.version, 3);
    assert_eq!(changes(&region).await.len(), 3);
}

async fn a_withdrawn_product_is_nowhere_has_no_price_and_may_come_back(region: Region) {
    assert!(matches!(withdraw_now(&region, "PEN", Expected::Anything).await, Err(EditError::Unknown(_))));
    put_now(&region, &edit("PEN", 100), Expected::Anything).await.unwrap();
    withdraw_now(&region, "PEN", Expected::Anything).await.unwrap();
    withdraw_now(&region, "PEN", Expected::OneOf(vec![1])).await.unwrap();
    assert_eq!(shown(&region, "PEN").await, None);
    assert_eq!(prices(&region, "PEN").await, (vec![100], None));
    assert_eq!(list(&primary(&region), region.number, &Search::default()).await.unwrap(), Page::default());
    assert_eq!(collections(&primary(&region), region.number).await.unwrap(), []);
    let patched = patch_now(&region, "PEN", Patch::default(), Expected::Anything).await;
    assert!(matches!(patched, Err(EditError::Unknown(_))));
    assert_eq!(refused(put_now(&region, &edit("PEN", 100), Expected::Existing).await), None);

    let back = put_now(&region, &edit("PEN", 100), Expected::Absent).await.unwrap();
    assert_eq!((back.version, back.created), (3, true));
    assert_eq!(prices(&region, "PEN").await, (vec![100], Some(100)));
    let told: Vec<i64> = changes(&region).await.into_iter().map(|(version, _)| version).collect();
    assert_eq!(told, [1, 2, 3]);
}

async fn prices_that_ended_long_ago_are_forgotten_and_no_other(region: Region) {
    for minor in [100, 110, 120, 130] {
        put_now(&region, &edit("PEN", minor), Expected::Anything).await.unwrap();
    }
    let aged = "UPDATE product_prices SET superseded_at = '2026-01-01T00:00:00+00:00' WHERE amount_minor < 120";
    execute(&region, aged).await;
    let day = Duration::from_hours(24);
    assert_eq!(forget_prices(&region.database, day, 1).await.unwrap(), 1);
    assert_eq!(forget_prices(&region.database, day, 10).await.unwrap(), 1);
    assert_eq!(forget_prices(&region.database, day, 10).await.unwrap(), 0);
    assert_eq!(prices(&region, "PEN").await, (vec![120], Some(130)));
}

on_both_databases!(
    a_product_is_what_was_put_and_its_version_counts_changes,
    an_edit_of_a_version_that_is_gone_is_refused_with_the_current_one,
    an_edit_that_is_sent_again_is_not_refused,
    a_patch_changes_the_fields_that_it_names,
    a_withdrawn_product_is_nowhere_has_no_price_and_may_come_back,
    prices_that_ended_long_ago_are_forgotten_and_no_other,
);
