//! A small shop in HTML over the catalogue: home, collection, product, the way to an order without JavaScript, the order's
//! status, and errors. A sample that is meant to be used, and to be replaced by a shop's own front end, which then speaks to
//! the same routes.
//!
//! # Nouns
//! - A **view** ([`view`]): all that a page shows, as plain values. Whoever serves a page makes one; [`render`] is pure.
//! - The [`Site`]: what all pages share. A page depends on nothing else than its view, so it may be kept and shared: there is
//!   no key of an order, no name and no time of a visitor in it. The order's own page and the form before it are never kept.
//! - An **asset** ([`assets`]): stylesheet, script, icon; named by its content.
//!
//! # Rules of the pages
//! - **They work without JavaScript**: the product's form leads to `/order/new`, which makes a key, to `/order/review`, which
//!   shows what is ordered, and from there by a plain form to the ingress. The key stands in the review's URL, so a refresh, a
//!   step back and a second click are the same order.
//! - **No inline script or style**, so [`csp`] forbids both.
//! - **Nothing moves while a page loads**: pictures are drawn in place, and what is told later has its room from the start.
//! - Whatever a person reads stands in the templates. The script shows and hides it, so a shop is translated in one place.

pub(crate) mod art;
pub(crate) mod assets;
mod form;
pub(crate) mod render;
mod sites;
#[cfg(test)]
mod tests;
pub(crate) mod view;

pub(crate) use form::routes;
pub(crate) use sites::Sites;
pub(crate) use view::Site;

/// The header `Content-Security-Policy` of every page. The ingress may be at another origin: events and orders go there.
pub(crate) fn csp(site: &Site) -> String {
    let ingress = if site.ingress.is_empty() { String::new() } else { format!(" {}", site.ingress) };
    format!(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' https: data:; connect-src 'self'{ingress}; \
         form-action 'self'{ingress}; base-uri 'none'; frame-ancestors 'none'"
    )
}
