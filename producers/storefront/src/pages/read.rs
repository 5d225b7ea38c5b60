//! A public read: its name in the cache, and what it depends on.

use cache::{PageKey, Tag};
use model::{CollectionName, MarketId, RegionName, Sku};
use store::catalogue::Cursor;

/// What is asked for, canonical: two spellings of one thing are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// `/v1/products/{sku}`
    Product(Sku),
    /// `/v1/products`
    List(List),
    /// `/v1/stock/{sku}` without a key.
    Stock(Sku),
    /// `/`
    Home,
    /// `/collections/{name}`, and the pages after its first.
    Collection(CollectionName, Option<Cursor>),
    /// `/products/{sku}`
    ProductPage(Sku),
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct List {
    pub(super) collection: Option<CollectionName>,
    pub(super) q: Option<String>,
    pub(super) after: Option<Cursor>,
}

impl Read {
    /// Its name. The market is in it, and nothing of how it was found out; for people's pages also what `edition` of the templates
    /// and of the site made them, so that an older process's page is none of a newer one.
    pub(super) fn key(&self, market: &MarketId, edition: &str) -> PageKey {
        PageKey::new(&match self {
            Self::Product(sku) => format!("api:{market}:/v1/products/{sku}"),
            Self::List(list) => format!("api:{market}:/v1/products?{}", list.canonical()),
            Self::Stock(sku) => format!("api:{market}:/v1/stock/{sku}"),
            Self::Home => format!("page:{market}:{edition}:/"),
            Self::Collection(name, None) => format!("page:{market}:{edition}:/collections/{name}"),
            Self::Collection(name, Some(after)) => format!("page:{market}:{edition}:/collections/{name}?page={after}"),
            Self::ProductPage(sku) => format!("page:{market}:{edition}:/products/{sku}"),
        })
    }

    /// The read that has this key, and its market's id; none for a key that was too long to be kept as it was.
    pub(super) fn of_key(key: &PageKey) -> Option<(&str, Self)> {
        let (kind, rest) = key.as_str().split_once(':')?;
        let (market, path) = rest.split_once(':')?;
        let read = match kind {
            "api" => Self::of_api(path.strip_prefix("/v1/")?)?,
            "page" => Self::of_page(path.split_once(':')?.1)?,
            _ => return None,
        };
        Some((market, read))
    }

    fn of_api(path: &str) -> Option<Self> {
        if let Some(sku) = path.strip_prefix("products/") {
            return sku.parse().ok().map(Self::Product);
        }
        if let Some(sku) = path.strip_prefix("stock/") {
            return sku.parse().ok().map(Self::Stock);
        }
        List::of_canonical(path.strip_prefix("products?")?).map(Self::List)
    }

    fn of_page(path: &str) -> Option<Self> {
        if path == "/" {
            return Some(Self::Home);
        }
        if let Some(sku) = path.strip_prefix("/products/") {
            return sku.parse().ok().map(Self::ProductPage);
        }
        let collection = path.strip_prefix("/collections/")?;
        Some(match collection.split_once("?page=") {
            None => Self::Collection(collection.parse().ok()?, None),
            Some((name, after)) => Self::Collection(name.parse().ok()?, Some(after.parse().ok()?)),
        })
    }

    /// What a client calls it.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Product(_) | Self::Stock(_) | Self::ProductPage(_) => "product",
            Self::List(_) => "list",
            Self::Home => "page",
            Self::Collection(..) => "collection",
        }
    }

    /// The tags that are known before anything is read. A list has those of its products' stock beside them.
    pub(super) fn tags(&self, region: &RegionName) -> Vec<Tag> {
        match self {
            Self::Product(sku) | Self::ProductPage(sku) => vec![Tag::product(region, sku), Tag::stock(region, sku)],
            Self::List(list) => vec![list.tag(region)],
            Self::Home => vec![Tag::catalogue(region)],
            Self::Collection(name, _) => vec![Tag::collection(region, name.as_str())],
            // What is there at all is the product's own affair.
            Self::Stock(sku) => vec![Tag::stock(region, sku), Tag::product(region, sku)],
        }
    }
}

impl List {
    /// In a fixed order; what is searched for comes last, since nothing bounds its characters.
    fn canonical(&self) -> String {
        let mut parts = Vec::with_capacity(3);
        parts.extend(self.collection.as_ref().map(|name| format!("collection={name}")));
        parts.extend(self.after.as_ref().map(|after| format!("page={after}")));
        parts.extend(self.q.as_ref().map(|q| format!("q={q}")));
        parts.join("&")
    }

    fn of_canonical(text: &str) -> Option<Self> {
        let mut list = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(q) = rest.strip_prefix("q=") {
                list.q = Some(q.to_owned());
                break;
            }
            let (part, after) = rest.split_once('&').unwrap_or((rest, ""));
            match part.split_once('=')? {
                ("collection", name) => list.collection = Some(name.parse().ok()?),
                ("page", page) => list.after = Some(page.parse().ok()?),
                _ => return None,
            }
            rest = after;
        }
        Some(list)
    }

    /// What says which products are in it, in which order, and what they are: a change of a product purges its collections.
    fn tag(&self, region: &RegionName) -> Tag {
        match &self.collection {
            Some(name) => Tag::collection(region, name.as_str()),
            None => Tag::catalogue(region),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_found_again_by_its_key() {
        let market: MarketId = "eu".parse().unwrap();
        let sku: Sku = "MUG/1:a".parse().unwrap();
        let after: Cursor = "YSBtdWcKTVVHLzk".parse().unwrap();
        let list = |collection: Option<&str>, q: Option<&str>, after: Option<&Cursor>| {
            let collection = collection.map(|name| name.parse().unwrap());
            Read::List(List { collection, q: q.map(str::to_owned), after: after.cloned() })
        };
        let reads = [
            Read::Product(sku.clone()),
            Read::Stock(sku),
            list(None, None, None),
            list(Some("mugs"), None, None),
            list(Some("mugs"), Some("a&collection=cups&page=x"), Some(&after)),
            list(None, Some("größe: 5"), None),
            list(None, None, Some(&after)),
            Read::Home,
            Read::Collection("mugs".parse().unwrap(), None),
            Read::Collection("mugs".parse().unwrap(), Some(after.clone())),
            Read::ProductPage("MUG/1:a".parse().unwrap()),
        ];
        for read in reads {
            let key = read.key(&market, "0a1b");
            assert_eq!(Read::of_key(&key), Some(("eu", read)), "{key:?}");
        }
        for other in ["long:abc", "api:eu:/v2/products/MUG", "api:eu:/v1/products?colour=red", "page:eu:/", "page"] {
            assert_eq!(Read::of_key(&PageKey::new(other)), None, "{other}");
        }
    }
}
