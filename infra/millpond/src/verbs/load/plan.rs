//! From arguments to a run: everything that can be wrong is said before anything is sent.

use std::fmt::Write as _;
use std::fs::File;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use capacity::{Article, Events, Load, Mix, Popularity, Shape};
use model::{Currency, Sku};

use super::super::products;
use super::args::{CourseArgs, EventsArg, TargetArgs, WhatArgs};

/// Above it one machine can't send; a higher rate is a typing error.
const HIGHEST_PER_S: f64 = 1_000_000.0;
/// Each is a task with two buffers and a socket.
const MOST_CONNECTIONS: usize = 10_000;
/// Articles of `--skus`; their bodies are kept formatted.
const MOST_SKUS: u32 = 1_000_000;
/// Bad lines of a file that are shown.
const SHOWN: usize = 20;

/// When requests are sent, and in words.
pub(super) fn load(args: &CourseArgs) -> anyhow::Result<(Load, String)> {
    if args.saturate {
        ensure!(!args.lasts.is_zero(), "--for 0: how long should it last?");
        return Ok((Load::Saturate(args.lasts), format!("as much as is taken, for {:?}", args.lasts)));
    }
    ensure!((0.0..=HIGHEST_PER_S).contains(&args.rate), "--rate {}: requests per second, 0 to 1000000", args.rate);
    let (shape, words) = match (args.ramp_to, args.spike, &args.rates) {
        (Some(to), ..) => {
            ensure!((0.0..=HIGHEST_PER_S).contains(&to), "--ramp-to {to}: requests per second, 0 to 1000000");
            let words = format!("from {}/s to {to}/s in {:?}", args.rate, args.lasts);
            (Shape::ramp(args.rate, to, args.lasts), words)
        }
        (_, Some(factor), _) => {
            let (before, after) = (args.before, args.after);
            let words = format!("{}/s, {factor} times that for {:?}, {}/s again", args.rate, args.lasts, args.rate);
            (Shape::spike(args.rate, factor, before, args.lasts, after), words)
        }
        (.., Some(path)) => {
            let file = File::open(path).with_context(|| format!("--rates {} can't be read", path.display()))?;
            let shape = capacity::read_rates(file).map_err(|bad| bad_lines("--rates", &path.display(), &bad))?;
            (shape, format!("as recorded in {}", path.display()))
        }
        _ => (Shape::constant(args.rate, args.lasts), format!("{}/s for {:?}", args.rate, args.lasts)),
    };
    ensure!(shape.requests() >= 1.0, "{words}: that is not one request; raise --rate or --for");
    ensure!(shape.peak_per_s() <= HIGHEST_PER_S, "{words}: more than {HIGHEST_PER_S} requests per second");
    Ok((Load::Open(shape), words))
}

/// What is sent, and in words.
pub(super) fn mix(args: &WhatArgs, run: &str, seed: u64) -> anyhow::Result<(Mix, String)> {
    let articles = articles(args)?;
    let events = args.events.map(|kind| match kind {
        EventsArg::Single => Events::Single,
        EventsArg::Batch => Events::Batch(args.events_per_request),
    });
    ensure!((0.0..=1.0).contains(&args.orders_share), "--orders-share {}: a share from 0 to 1", args.orders_share);
    let Some(events) = events else {
        ensure!(!articles.is_empty(), "say what to send: --sku, --skus, --catalogue, or --events");
        let words = format!("orders of {}", named(&articles, args.zipf));
        return Ok((orders(args, run, seed, articles)?, words));
    };
    let words = match events {
        Events::Single => "page events, one in each request".to_owned(),
        Events::Batch(count) => format!("page events, {count} in each request"),
    };
    if args.orders_share > 0.0 {
        ensure!(!articles.is_empty(), "--orders-share needs articles: --sku, --skus or --catalogue");
        let share = args.orders_share * 100.0;
        let words = format!("{share}% orders of {}; else {words}", named(&articles, args.zipf));
        return Ok((orders(args, run, seed, articles)?.with_events(events, args.orders_share)?, words));
    }
    Ok((Mix::events(run, events, seed).context("--events-per-request")?, words))
}

fn orders(args: &WhatArgs, run: &str, seed: u64, articles: Vec<Article>) -> anyhow::Result<Mix> {
    Currency::from_code(&args.currency).context("--currency")?;
    let popularity = if articles.len() == 1 { Popularity::InTurn } else { Popularity::Zipf(args.zipf) };
    Mix::orders(run, &args.currency, articles, popularity, seed).with_context(|| format!("--zipf {}", args.zipf))
}

fn articles(args: &WhatArgs) -> anyhow::Result<Vec<Article>> {
    if let Some(path) = &args.catalogue {
        let currency = Currency::from_code(&args.currency).context("--currency")?;
        let products = products::read(path, currency).context("--catalogue")?;
        let products = products.map_err(|bad| bad_lines("--catalogue", &path.display(), &bad))?;
        ensure!(!products.is_empty(), "--catalogue {}: it has no products", path.display());
        let other = products.iter().find(|product| product.price.currency != currency);
        if let Some(product) = other {
            bail!("--catalogue: {} costs {}, and orders are in {currency} (--currency)", product.sku, product.price);
        }
        let article = |product: &store::catalogue::ProductEdit| Article {
            sku: product.sku.to_string(),
            unit_price_minor: product.price.minor,
        };
        return Ok(products.iter().map(article).collect());
    }
    ensure!(args.price >= 0, "--price {}: minor units, 0 or more", args.price);
    let named = |sku: String| {
        let sku: Sku = sku.parse().with_context(|| format!("the article {sku:?}"))?;
        Ok(Article { sku: sku.to_string(), unit_price_minor: args.price })
    };
    match (&args.sku, args.skus) {
        (Some(sku), _) => Ok(vec![named(sku.clone())?]),
        (None, Some(count)) => {
            ensure!((1..=MOST_SKUS).contains(&count), "--skus {count}: 1 to {MOST_SKUS}");
            ensure!(args.sku_pattern.contains("{}"), "--sku-pattern {:?} has no {{}} for the number", args.sku_pattern);
            (1..=count).map(|n| named(args.sku_pattern.replace("{}", &n.to_string()))).collect()
        }
        (None, None) => Ok(Vec::new()),
    }
}

fn named(articles: &[Article], zipf: f64) -> String {
    match articles {
        [only] => only.sku.clone(),
        many => format!("{} articles (Zipf, exponent {zipf})", many.len()),
    }
}

fn bad_lines(flag: &str, path: &std::path::Display<'_>, bad: &[impl std::fmt::Display]) -> anyhow::Error {
    let mut text = format!("{flag} {path}:");
    for line in bad.iter().take(SHOWN) {
        text = text + "\n  " + &line.to_string();
    }
    if bad.len() > SHOWN {
        let _ = write!(text, "\n  … and {} more", bad.len() - SHOWN);
    }
    anyhow::Error::msg(text)
}

/// Limits of the generator.
pub(super) fn config(args: &TargetArgs, max_requests: Option<u64>) -> anyhow::Result<capacity::Config> {
    let connections = args.connections;
    ensure!((1..=MOST_CONNECTIONS).contains(&connections), "--connections {connections}: 1 to {MOST_CONNECTIONS}");
    ensure!(args.answer_within >= Duration::from_millis(1), "--answer-within: a millisecond or more");
    ensure!(max_requests != Some(0), "--max-requests 0: that is not one request");
    let (max_waiting, answer_within) = (args.max_waiting, args.answer_within);
    Ok(capacity::Config { connections, max_waiting, answer_within, max_requests })
}
