//! Lists and searches, page by page.
//!
//! A list is sorted by title, then SKU, and its pages are cut by key: each begins after the last product of the one before, so
//! that a late page costs what the first one does, and what comes or goes before it moves nothing.
//!
//! A search finds the products that have, for each of its words, one in title or SKU that begins with it. Of two ways the one is
//! taken that looks at few rows: through the products that have the rarest word, where those are few; else along the list,
//! passing over what does not match. That walk ends after [`WALK`] products, and the page with it: such a page may hold
//! fewer products than asked for, or none, and still name a next one.

use events::Band;
use model::{CollectionName, Money, RegionNumber, Sku};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};

use super::cursor::Cursor;
use super::{read, words};
use crate::replica::Reader;

/// Products of a page at most.
const MOST: u32 = 200;
/// A word is rare where no more products than so many have one that begins with it.
const RARE: i64 = 1_000;
/// Products that one page of a search passes over at most.
const WALK: u32 = 10_000;

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// The products of this collection alone.
    pub collection: Option<CollectionName>,
    /// The products with these words alone, or beginnings of words; blank is no condition. Six words count, 32 characters of
    /// each.
    pub q: Option<String>,
    /// What follows this page; none: from the beginning.
    pub after: Option<Cursor>,
    /// Products of a page, 1 to 200; what is outside is taken as the nearest.
    pub limit: u32,
}

/// A product as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Which.
    pub sku: Sku,
    /// Shown to shoppers.
    pub title: String,
    /// URL of its picture, or a path on the shop's own host.
    pub image: Option<String>,
    /// The standing price of one unit.
    pub price: Money,
    /// Plenty, few or none.
    pub band: Band,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// By title, then SKU.
    pub items: Vec<Listing>,
    /// Where it goes on; none at the end.
    pub next: Option<Cursor>,
}

/// The page of products for sale that `search` asks for.
///
/// # Errors
/// The database's.
pub async fn list(reader: &Reader, region: RegionNumber, search: &Search) -> Result<Page, DbErr> {
    list_within(reader, region, search, WALK).await
}

/// [`fn@list`], passing over at most so many products.
pub(super) async fn list_within(
    reader: &Reader,
    region: RegionNumber,
    search: &Search,
    most: u32,
) -> Result<Page, DbErr> {
    let words = match search.q.as_deref().map(str::trim).filter(|q| !q.is_empty()) {
        None => Vec::new(),
        Some(q) => words::of_search(q),
    };
    if words.is_empty() && search.q.as_deref().is_some_and(|q| !q.trim().is_empty()) {
        // Signs alone, which no word has.
        return Ok(Page::default());
    }
    let limit = search.limit.clamp(1, MOST);
    let walk = Walk { region, search, limit, most };
    let (statement, is_cut) = if words.is_empty() {
        (walk.all(), false)
    } else {
        match rarest(reader, region, &words).await? {
            Rarity::Absent => return Ok(Page::default()),
            Rarity::Rare(at) => (walk.through(&words, at), false),
            Rarity::Common => (walk.past(&words), true),
        }
    };
    let mut rows = reader.query_all_raw(statement.on(reader)).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = if more {
        rows.last().map(cursor).transpose()?
    } else if is_cut {
        end_of_walk(reader, &walk).await?
    } else {
        None
    };
    let items: Vec<Option<Listing>> = rows.iter().map(listing).collect::<Result<_, _>>()?;
    Ok(Page { items: items.into_iter().flatten().collect(), next })
}

/// How many products have the rarest of several words.
enum Rarity {
    /// None.
    Absent,
    /// Few; the word's place.
    Rare(usize),
    /// All of them are common.
    Common,
}

async fn rarest(reader: &Reader, region: RegionNumber, words: &[String]) -> Result<Rarity, DbErr> {
    let mut sql = Sql::new(region);
    let counts: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(n, word)| {
            let begins = sql.begins("word", word);
            format!(
                "(SELECT count(*) FROM (SELECT 1 FROM product_words WHERE region = $1 AND {begins} LIMIT {}) w{n}) AS n{n}",
                RARE + 1
            )
        })
        .collect();
    sql.text = format!("SELECT {}", counts.join(", "));
    let row = reader.query_one_raw(sql.on(reader)).await?.ok_or_else(|| read::broken("an empty answer"))?;
    let counts = (0..words.len()).map(|n| row.try_get("", &format!("n{n}"))).collect::<Result<Vec<i64>, _>>()?;
    let fewest = counts.into_iter().enumerate().min_by_key(|(_, count)| *count);
    Ok(match fewest {
        None | Some((_, 0)) => Rarity::Absent,
        Some((at, count)) if count <= RARE => Rarity::Rare(at),
        Some(_) => Rarity::Common,
    })
}

/// The key of the last product that a walk looked at, where it did not come to the list's end.
async fn end_of_walk(reader: &Reader, walk: &Walk<'_>) -> Result<Option<Cursor>, DbErr> {
    let mut sql = Sql::new(walk.region);
    let list = walk.list(&mut sql);
    sql.text = format!("SELECT l.sort_key, l.sku {list} ORDER BY l.sort_key, l.sku LIMIT 1 OFFSET {}", walk.most - 1);
    reader.query_one_raw(sql.on(reader)).await?.as_ref().map(cursor).transpose()
}

/// The statements of one page.
struct Walk<'a> {
    region: RegionNumber,
    search: &'a Search,
    limit: u32,
    /// Products that it looks at.
    most: u32,
}

impl Walk<'_> {
    /// `FROM … WHERE …` of the list from where the page begins.
    fn list(&self, sql: &mut Sql) -> String {
        format!("FROM product_listings l WHERE l.region = $1 AND {}", self.place(sql))
    }

    /// In the list, and after the page before.
    fn place(&self, sql: &mut Sql) -> String {
        // The list of everything is named in the text, and not bound: a plan that is made for any list takes it for one of average
        // length, and reads and sorts all of it for each page of a search.
        let collection = match &self.search.collection {
            Some(name) => sql.bind(name.as_str()),
            None => "''".to_owned(),
        };
        let Some(Cursor { sort_key, sku }) = &self.search.after else {
            return format!("l.collection = {collection}");
        };
        let (sort_key, sku) = (sql.bind(sort_key.as_str()), sql.bind(sku.as_str()));
        format!("l.collection = {collection} AND (l.sort_key, l.sku) > ({sort_key}, {sku})")
    }

    /// Every product of the list.
    fn all(&self) -> Sql {
        let mut sql = Sql::new(self.region);
        let list = self.list(&mut sql);
        self.shown(sql, &format!("SELECT l.sort_key, l.sku {list}"))
    }

    /// Those with all of `words`, through the products that have the one at `rarest`.
    fn through(&self, words: &[String], rarest: usize) -> Sql {
        let mut sql = Sql::new(self.region);
        let begins = sql.begins("word", &words[rarest]);
        let place = self.place(&mut sql);
        let others: Vec<&String> =
            words.iter().enumerate().filter(|(at, _)| *at != rarest).map(|(_, word)| word).collect();
        let matches = sql.matches(&others);
        let keys = format!(
            "WITH m AS MATERIALIZED (SELECT DISTINCT sku FROM product_words WHERE region = $1 AND {begins}) \
             SELECT l.sort_key, l.sku FROM m JOIN product_listings l ON l.region = $1 AND l.sku = m.sku \
             WHERE {place}{matches}"
        );
        self.shown(sql, &keys)
    }

    /// Those with all of `words`, along the list.
    fn past(&self, words: &[String]) -> Sql {
        let mut sql = Sql::new(self.region);
        let list = self.list(&mut sql);
        let matches = sql.matches(&words.iter().collect::<Vec<_>>());
        let keys = format!(
            "SELECT l.sort_key, l.sku FROM (SELECT l.sort_key, l.sku {list} ORDER BY l.sort_key, l.sku LIMIT {}) l \
             WHERE true{matches}",
            self.most
        );
        self.shown(sql, &keys)
    }

    /// What is shown of the first products of `keys`, and of one more.
    fn shown(&self, mut sql: Sql, keys: &str) -> Sql {
        sql.text = format!(
            "SELECT k.sort_key, k.sku, p.title, p.image, c.currency, c.amount_minor, s.on_hand, s.reserved, \
             s.low_threshold FROM ({keys} ORDER BY l.sort_key, l.sku LIMIT {}) k \
             JOIN products p ON p.region = $1 AND p.sku = k.sku \
             LEFT JOIN product_prices c ON c.region = $1 AND c.sku = k.sku AND c.superseded_at IS NULL \
             LEFT JOIN stock s ON s.region = $1 AND s.sku = k.sku ORDER BY k.sort_key, k.sku",
            self.limit + 1
        );
        sql
    }
}

/// A statement and what is bound to it; `$1` is the region.
struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    fn new(region: RegionNumber) -> Self {
        Self { text: String::new(), values: vec![i32::from(region.0).into()] }
    }

    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// `column` begins with `word`.
    fn begins(&mut self, column: &str, word: &str) -> String {
        let (from, below) = words::range(word);
        format!("{column} >= {} AND {column} < {}", self.bind(from), self.bind(below))
    }

    /// The product of `l` has each of `words`.
    fn matches(&mut self, words: &[&String]) -> String {
        let each = words.iter().map(|word| {
            let begins = self.begins("w.word", word);
            format!(" AND EXISTS (SELECT 1 FROM product_words w WHERE w.region = $1 AND w.sku = l.sku AND {begins})")
        });
        each.collect::<Vec<_>>().concat()
    }

    fn on(self, reader: &Reader) -> sea_orm::Statement {
        reader.statement(self.text, self.values)
    }
}

fn cursor(row: &QueryResult) -> Result<Cursor, DbErr> {
    Ok(Cursor { sort_key: row.try_get("", "sort_key")?, sku: row.try_get("", "sku")? })
}

/// None for a product without a price, which nobody can buy.
fn listing(row: &QueryResult) -> Result<Option<Listing>, DbErr> {
    let Some(price) = read::price(row)? else { return Ok(None) };
    Ok(Some(Listing {
        sku: read::sku(row)?,
        title: row.try_get("", "title")?,
        image: row.try_get("", "image")?,
        price,
        band: read::band(row)?.unwrap_or(Band::Out),
    }))
}
