//! Views into HTML: pure, and the same bytes for the same view.

use askama::Template;

use super::view::{CollectionView, ErrorView, HomeView, OrderView, ProductView, ReviewView};

/// The shop's front door.
pub(crate) fn home(view: &HomeView) -> String {
    html(view)
}

/// The articles of a collection, a page of them.
pub(crate) fn collection(view: &CollectionView) -> String {
    html(view)
}

/// An article, and the form that orders it.
pub(crate) fn product(view: &ProductView) -> String {
    html(view)
}

/// What is about to be ordered, without JavaScript. Holds the order's key: never kept by anybody.
pub(crate) fn review(view: &ReviewView) -> String {
    html(view)
}

/// What became of an order. Only for the bearer of its token: never kept by anybody.
pub(crate) fn order(view: &OrderView) -> String {
    html(view)
}

/// An error for people.
pub(crate) fn error(view: &ErrorView) -> String {
    html(view)
}

fn html(view: &impl Template) -> String {
    view.render().expect("a template writes plain values into a string, and neither can fail")
}
