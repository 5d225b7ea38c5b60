//! What pages of lists and searches cost in a large catalogue: the catalogue is imported first, and that is timed too.
//!
//! ```text
//! listings URL PRODUCTS
//! ```
//!
//! The database (`postgres://…` or `sqlite:FILE`) is migrated, and region 1 of it filled: give it one of its own.

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use model::{Currency, Money, SystemClock};
use store::catalogue::{self, ProductEdit, Search};
use store::{Config, DatabaseConfig, Databases, Reads, Region};

/// Products of one import, as over HTTP.
const PART: u64 = 20_000;
/// Pages of each kind.
const PAGES: usize = 200;
const WORDS: [&str; 12] =
    ["amber", "blue", "coral", "dusk", "ebony", "fern", "green", "hazel", "ivory", "jade", "khaki", "lilac"];
const THINGS: [&str; 10] = ["mug", "bowl", "plate", "lamp", "chair", "table", "shelf", "vase", "basket", "carpet"];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, products] = &arguments[..] else { bail!("usage: listings URL PRODUCTS") };
    let products: u64 = products.parse().context("PRODUCTS is a whole number")?;
    let mut config = Config::default();
    config.database.insert("main".to_owned(), DatabaseConfig::at(url.clone()));
    let databases = Databases::open(&config)?;
    let region = databases.regions().next().context("a region")?;
    store::migrate(&region.database).await?;
    import(region, products).await?;
    let middle = middle(region, products).await?;
    for (what, search) in [
        ("everything, first page", Search::default()),
        ("everything, a page in the middle", Search { after: middle.clone(), ..Search::default() }),
        ("a collection", Search { collection: Some("c-7".parse()?), ..Search::default() }),
        (
            "a collection, a page in the middle",
            Search { collection: Some("c-7".parse()?), after: middle, ..Search::default() },
        ),
        ("a word of every title", searching("the")),
        ("a word of one title", searching("item4711")),
        ("a word of a tenth", searching("vase")),
        ("a beginning of a sixth", searching("b")),
        ("two words of a hundredth", searching("vase jade")),
        ("two common words that never meet", searching("first last")),
        ("a collection and a word", Search { collection: Some("c-7".parse()?), ..searching("vase") }),
    ] {
        measure(region, what, Search { limit: 24, ..search }).await?;
    }
    Ok(())
}

fn searching(q: &str) -> Search {
    Search { q: Some(q.to_owned()), ..Search::default() }
}

fn product(n: u64, of: u64) -> Result<ProductEdit> {
    let pick = |list: &[&'static str], by: u64| -> &'static str {
        usize::try_from(by % list.len() as u64).ok().and_then(|at| list.get(at)).copied().unwrap_or_default()
    };
    // Spread over the alphabet, so that numbers and titles have not the same order.
    let half = if n < of / 2 { "first" } else { "last" };
    let (word, thing) = (pick(&WORDS, n.wrapping_mul(7)), pick(&THINGS, n / 12));
    Ok(ProductEdit {
        sku: format!("SKU-{n:07}").parse()?,
        title: format!("The {word} {thing} {half} item{n}"),
        description: "Made for measuring, not for sale.".to_owned(),
        image: Some(format!("/images/{n}.jpg")),
        collections: vec![format!("c-{}", n % 40).parse()?, format!("d-{}", n % 7).parse()?],
        price: Money::new(i64::try_from(100 + n % 9_900)?, Currency::from_code("EUR")?),
        on_hand: Some(100),
        low_threshold: None,
    })
}

async fn import(region: &Region, products: u64) -> Result<()> {
    for first in (0..products).step_by(usize::try_from(PART)?) {
        let part: Vec<ProductEdit> =
            (first..products.min(first + PART)).map(|n| product(n, products)).collect::<Result<_>>()?;
        let begun = Instant::now();
        let imported = catalogue::import(region, &part, &format!("part-{first}"), &SystemClock, |_| ()).await?;
        let took = begun.elapsed();
        writeln!(
            std::io::stdout(),
            "import of {}: {:.2} s ({} created)",
            part.len(),
            took.as_secs_f64(),
            imported.created
        )?;
    }
    Ok(())
}

/// Half way through the list of everything.
async fn middle(region: &Region, products: u64) -> Result<Option<catalogue::Cursor>> {
    let mut after = None;
    for _ in 0..products / 400 {
        let search = Search { after, limit: 200, ..Search::default() };
        after = catalogue::list(&region.reader(Reads::Listing), region.number, &search).await?.next;
    }
    Ok(after)
}

async fn measure(region: &Region, what: &str, search: Search) -> Result<()> {
    let mut times = Vec::with_capacity(PAGES);
    let (mut items, mut next) = (0, false);
    for _ in 0..PAGES {
        let begun = Instant::now();
        let page = catalogue::list(&region.reader(Reads::Listing), region.number, &search).await?;
        times.push(begun.elapsed());
        (items, next) = (page.items.len(), page.next.is_some());
    }
    times.sort_unstable();
    let ms = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
    let (median, p99) = (ms(PAGES / 2), ms(PAGES * 99 / 100));
    let more = if next { ", and a next page" } else { "" };
    writeln!(std::io::stdout(), "{what}: median {median:.2} ms, p99 {p99:.2} ms ({items} products{more})")?;
    Ok(())
}
