//! The layout of the workspace, held by its own metadata: arrows point strictly down, and nothing points beside.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The level of every crate, as ARCHITECTURE.md draws it.
fn level(name: &str) -> u8 {
    match name {
        "model" | "failpoint" => 0,
        "events" | "broker" | "flow" => 1,
        "service" | "store" | "cache" | "broker-rabbit" | "broker-embedded" => 2,
        "worker" => 3,
        "ingress" | "storefront" | "relay" | "checkout" | "invalidation" | "analytics" | "parker" => 4,
        "capacity" | "ops" => 5,
        "millpond" => 6,
        other => panic!("{other} has no level: give it one here and in ARCHITECTURE.md"),
    }
}

fn metadata() -> Metadata {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(root).no_deps().other_options(["--offline".to_owned()]);
    command.exec().expect("the workspace's own metadata needs nothing but the workspace")
}

/// Every crate but the tests, by name.
fn crates(metadata: &Metadata) -> BTreeMap<String, &Package> {
    metadata
        .packages
        .iter()
        .filter(|package| !package.manifest_path.as_str().contains("/tests/"))
        .map(|package| (package.name.to_string(), package))
        .collect()
}

#[test]
fn every_arrow_between_crates_points_strictly_down() {
    let metadata = metadata();
    let crates = crates(&metadata);
    for (name, package) in &crates {
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if crates.contains_key(&dependency.name) {
                assert!(
                    level(&dependency.name) < level(name),
                    "{name} (level {}) must not use {} (level {})",
                    level(name),
                    dependency.name,
                    level(&dependency.name)
                );
            }
        }
    }
}

#[test]
fn every_crate_is_named_after_its_folder_and_lies_flat() {
    let metadata = metadata();
    let root = metadata.workspace_root.clone();
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().unwrap();
        assert_eq!(folder.file_name(), Some(package.name.as_str()), "{folder}");
        let depth = folder.strip_prefix(&root).unwrap().components().count();
        assert_eq!(depth, 2, "{folder} lies flat inside its top-level folder");
    }
}

/// The packages that name `dependency` in any section of their manifest.
fn users_of(metadata: &Metadata, dependency: &str) -> Vec<String> {
    let names = |package: &&Package| package.dependencies.iter().any(|d| d.name == dependency);
    metadata.packages.iter().filter(names).map(|package| package.name.to_string()).collect()
}

#[test]
fn lapin_is_named_by_broker_rabbit_alone() {
    assert_eq!(users_of(&metadata(), "lapin"), ["broker-rabbit"]);
}

#[test]
fn the_binary_alone_names_the_concrete_brokers() {
    let metadata = metadata();
    let crates = crates(&metadata);
    for broker in ["broker-rabbit", "broker-embedded"] {
        for (name, package) in &crates {
            let uses = package.dependencies.iter().any(|d| d.kind == DependencyKind::Normal && d.name == broker);
            assert_eq!(uses, name == "millpond", "{name} and {broker}");
        }
    }
}

/// Every crate that the ingress's own code could call: its dependencies, theirs within the workspace, and so on.
fn reached_by_the_ingress() -> Vec<String> {
    let metadata = metadata();
    let crates = crates(&metadata);
    let mut reached = vec!["ingress".to_owned()];
    let mut next = 0;
    while let Some(name) = reached.get(next).cloned() {
        next += 1;
        let Some(package) = crates.get(&name) else { continue };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if !reached.contains(&dependency.name) {
                reached.push(dependency.name.clone());
            }
        }
    }
    reached
}

#[test]
fn the_ingress_has_no_way_to_a_database() {
    let reached = reached_by_the_ingress();
    for database in ["store", "sea-orm", "sea-orm-migration", "sqlx"] {
        assert!(!reached.iter().any(|name| name == database), "the ingress reaches {database} through {reached:?}");
    }
}

#[test]
fn the_ingress_has_no_way_to_the_cache() {
    let reached = reached_by_the_ingress();
    for cache in ["cache", "redis"] {
        assert!(!reached.iter().any(|name| name == cache), "the ingress reaches {cache} through {reached:?}");
    }
}
