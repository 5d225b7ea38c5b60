//! `millpond keys`: who may call, and what signs status URLs.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use model::TokenKey;
use ops::operators::{self, PlainToken};
use service::keys::{self, Entry, KeyKind, PlainKey, Scope};

use super::{complain, ops_client, say};
use crate::cli::KeysVerb;
use crate::settings::Settings;

/// Twice what HMAC-SHA256 needs at least.
const TOKEN_KEY_BYTES: usize = 64;

pub(crate) fn run(settings: &Settings, what: &KeysVerb) -> anyhow::Result<ExitCode> {
    settings.prepare_data()?;
    let file = &settings.ingress.keys_file;
    match what {
        KeysVerb::Create { name, market, origin, scope } => {
            let key = create(settings, name, market, origin, scope)?;
            complain("This key is shown once; the file keeps its hash alone:");
            say(key.reveal());
        }
        KeysVerb::List => {
            list_operators(settings)?;
            for Entry { name, market, kind, scopes, expires_at, .. } in keys::read(file)? {
                let until = expires_at.map_or_else(String::new, |time| format!(", until {time}"));
                let kind = match kind {
                    KeyKind::Server => "server",
                    KeyKind::Browser => "browser",
                };
                let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
                say(&format!("{name}: {kind} key of market {market} for {}{until}", scopes.join(", ")));
            }
        }
        KeysVerb::Operator { name, revoke: false } => {
            let token = add_operator(settings, name)?;
            complain("This token is shown once; the file keeps its hash alone:");
            say(token.reveal());
        }
        KeysVerb::Operator { name, revoke: true } => {
            if !operators::remove(&settings.ops.operators_file, name)? {
                bail!("there is no operator named {name:?}; `millpond keys list` names them");
            }
            say(&format!("The operator {name} is revoked; running processes notice within the reload interval."));
        }
        KeysVerb::Revoke { name } => {
            if !keys::revoke(file, name)? {
                bail!("there is no key named {name:?}; `millpond keys list` names them");
            }
            say(&format!("{name} is revoked; running processes notice within the reload interval."));
        }
        KeysVerb::Token => {
            create_token_key(&settings.token_key_file)?;
            say(&format!("{} signs status URLs now.", settings.token_key_file.display()));
            say("Give the same file to every ingress and storefront of the shop.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_operators(settings: &Settings) -> anyhow::Result<()> {
    let file = &settings.ops.operators_file;
    if file.exists() {
        operators::read(file)?.iter().for_each(|operator| say(&format!("{}: operator", operator.name)));
    }
    Ok(())
}

fn add_operator(settings: &Settings, name: &str) -> anyhow::Result<PlainToken> {
    let (token, hash) = operators::generate();
    operators::append(&settings.ops.operators_file, &operators::Entry { name: name.to_owned(), hash })?;
    Ok(token)
}

/// A process on loopback whose operators' file is not there makes one with the operator "local", and leaves the token in the
/// data folder, so that the verbs work at once; whether it did.
pub(crate) fn make_local_operator(settings: &Settings) -> anyhow::Result<bool> {
    if settings.ops.operators_file.exists() || !settings.ops.bind.ip().is_loopback() {
        return Ok(false);
    }
    let token = add_operator(settings, "local")?;
    ops_client::leave(&ops_client::token_path(settings), &format!("{}\n", token.reveal()))?;
    Ok(true)
}

/// Makes a key for a configured market and adds its hash to the file. With origins it is a browser's. Without scopes it has the
/// usual ones of its kind.
pub(crate) fn create(
    settings: &Settings,
    name: &str,
    market: &str,
    origins: &[String],
    scopes: &[Scope],
) -> anyhow::Result<PlainKey> {
    let known: Vec<&str> = settings.ingress.markets.iter().map(|market| market.id.as_str()).collect();
    if !known.contains(&market) {
        bail!("--market {market} is not configured; known are: {}", known.join(", "));
    }
    let kind = if origins.is_empty() { KeyKind::Server } else { KeyKind::Browser };
    let servers_alone = scopes.iter().find(|scope| matches!(scope, Scope::Catalogue | Scope::Stock));
    if let (KeyKind::Browser, Some(scope)) = (kind, servers_alone) {
        bail!("--scope {scope} is for keys of servers: with --origin everybody could use it");
    }
    let mut scopes = scopes.to_vec();
    if scopes.is_empty() {
        scopes.extend([Scope::Orders, Scope::Events]);
        scopes.extend((kind == KeyKind::Server).then_some(Scope::Stock));
    }
    let (plain, hash) = keys::generate();
    let entry = Entry {
        name: name.to_owned(),
        hash,
        market: market.parse()?,
        kind,
        scopes,
        origins: origins.to_vec(),
        expires_at: None,
    };
    keys::append(&settings.ingress.keys_file, &entry)?;
    Ok(plain)
}

/// The key that signs status URLs, which `keys token` made.
///
/// # Errors
/// What to do where there is none.
pub(crate) fn token_key(path: &Path) -> anyhow::Result<TokenKey> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "token_key_file = {}: it can't be read. `millpond keys token` makes it, once for all processes of a shop",
            path.display()
        )
    })?;
    TokenKey::new(bytes).with_context(|| format!("token_key_file = {}", path.display()))
}

/// Makes the key; an existing one is never overwritten, because every status URL in the world hangs on it. Written aside
/// and linked into place, so that a crash leaves the whole key or none.
pub(crate) fn create_token_key(path: &Path) -> anyhow::Result<()> {
    let mut key = [0; TOKEN_KEY_BYTES];
    rand::fill(&mut key);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        // Readable by its owner alone, as temporary files are made.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&key)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|refused| refused.error)?;
        File::open(folder)?.sync_all()
    };
    match write() {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} exists; a new key would make every status URL invalid. Move it away first", path.display())
        }
        made => made.with_context(|| format!("{} can't be made", path.display())),
    }
}
