//! `millpond import products.csv`, or `.ndjson`: a catalogue from a file, all of it or nothing.
//!
//! None at all is the choice, and not "the good ones": a file is edited and tried again, and a shop that took half of it
//! sells at half of its prices until somebody reads the log.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use model::{Currency, EventId, SystemClock};
use service::metrics::Metrics;
use store::catalogue::{self, Imported, ProductEdit, Shortfall};
use store::{Databases, Region};

use super::{complain, products, say};
use crate::cli::ImportArgs;
use crate::parts::Parts;
use crate::settings::Settings;

/// Bad lines that are printed; a file of the wrong kind has one on every line.
const SHOWN: usize = 50;

pub(crate) async fn run(settings: &Settings, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let products = match products::read(&args.file, Currency::from_code(&args.currency).context("--currency")?)? {
        Ok(products) => products,
        Err(bad) => {
            bad.iter().take(SHOWN).for_each(|line| complain(line));
            if bad.len() > SHOWN {
                complain("… and more");
            }
            complain("Nothing was imported. Mend these lines and import the file again.");
            return Ok(ExitCode::FAILURE);
        }
    };
    settings.prepare_data()?;
    let parts = Parts::new(settings, Metrics::new());
    let databases = parts.databases().await?;
    let region = region(&databases, args.region.as_deref())?;
    let imported = write(region, &products).await?;
    parts.close().await;
    report(&args.file.display().to_string(), region, &imported);
    Ok(ExitCode::SUCCESS)
}

/// Writes the products, with a progress bar where there is a terminal.
pub(crate) async fn write(region: &Region, products: &[ProductEdit]) -> anyhow::Result<Imported> {
    let bar = ProgressBar::new(products.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} products, {per_sec}").context("a valid template")?,
    );
    let reference = EventId::new(&SystemClock).to_string();
    let imported = catalogue::import(region, products, &reference, &SystemClock, |done| bar.set_position(done as u64))
        .await
        .with_context(|| {
            format!(
                "the import into the region {} failed, and nothing of it is there unless the connection was lost at its very \
                 end: import the file again (the database {} must run and be migrated: `millpond doctor` says which it is not)",
                region.name,
                region.database.name()
            )
        })?;
    bar.finish_and_clear();
    Ok(imported)
}

fn region<'a>(databases: &'a Databases, name: Option<&str>) -> anyhow::Result<&'a Region> {
    let known: Vec<&str> = databases.regions().map(|region| region.name.as_str()).collect();
    match name {
        Some(name) => databases
            .regions()
            .find(|region| region.name.as_str() == name)
            .with_context(|| format!("--region {name} is not configured; known are: {}", known.join(", "))),
        None => match databases.regions().collect::<Vec<_>>()[..] {
            [region] => Ok(region),
            _ => bail!("there are several regions: name one with --region: {}", known.join(", ")),
        },
    }
}

fn report(file: &str, region: &Region, imported: &Imported) {
    let Imported { created, changed, unchanged, shortfalls } = imported;
    say(&format!("{file} → region {}: {created} created, {changed} changed, {unchanged} unchanged", region.name));
    for Shortfall { sku, missing } in shortfalls {
        say(&format!("{sku}: {missing} units fewer were counted than are promised to orders"));
    }
}
