//! Golden JSON Schemas.

use schemars::{Schema, schema_for};

use crate::catalogue::{ProductChanged, StockChanged, StockShortfall};
use crate::envelope::Contract;
use crate::order::{OrderConfirmed, OrderPlaced, OrderRejected, OrderState};
use crate::outcomes::OrderOutcomes;
use crate::page::PageBatch;
use crate::purged::TagsPurged;
use crate::taken_back::{OrderRefunded, OrderReleased};

/// A schema and the name of its golden file.
#[derive(Debug)]
pub struct GoldenSchema {
    /// `TYPE.vVERSION.json`, below `schemas/`.
    pub file: String,
    /// Generated from the struct.
    pub schema: Schema,
}

fn of<P: Contract>() -> GoldenSchema {
    GoldenSchema { file: format!("{}.v{}.json", P::KIND, P::VERSION), schema: schema_for!(P) }
}

/// The schema of every contract of this build, and of the order states that the API shows.
pub fn schemas() -> Vec<GoldenSchema> {
    vec![
        of::<OrderPlaced>(),
        of::<OrderConfirmed>(),
        of::<OrderRejected>(),
        of::<OrderOutcomes>(),
        of::<OrderReleased>(),
        of::<OrderRefunded>(),
        of::<PageBatch>(),
        of::<ProductChanged>(),
        of::<StockChanged>(),
        of::<StockShortfall>(),
        of::<TagsPurged>(),
        GoldenSchema { file: "order.state.json".to_owned(), schema: schema_for!(OrderState) },
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_contract_is_what_its_golden_schema_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for GoldenSchema { file, schema } in schemas() {
            let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            let path = folder.join(&file);
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                std::fs::write(&path, &generated).unwrap();
            }
            let golden = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{file}: {error}; UPDATE_SCHEMAS=1 cargo test -p events writes it"));
            assert_eq!(generated, golden, "{file} drifted: a released version is never edited, add the next version");
        }
    }

    #[test]
    fn every_golden_schema_has_its_contract() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let known: Vec<String> = schemas().into_iter().map(|golden| golden.file).collect();
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                known.contains(&name),
                "{name} has no contract: retired versions stay until drained, with the reason"
            );
        }
    }
}
