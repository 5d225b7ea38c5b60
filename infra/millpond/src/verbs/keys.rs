//! `millpond keys`: who may call, and what signs status URLs.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv6Addr;
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
            complain(&format!("This key is shown once; {} keeps its hash alone:", file.display()));
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
            let file = settings.ops.operators_file.display();
            complain(&format!("This token is shown once; {file} keeps its hash alone:"));
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
    origins.iter().try_for_each(|origin| check_origin(origin))?;
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

/// Refuses an origin that no browser sends: its key would be refused in all of them.
fn check_origin(origin: &str) -> anyhow::Result<()> {
    match as_sent(origin) {
        Some(sent) if sent == origin => Ok(()),
        Some(sent) => bail!(
            "--origin {origin}: browsers write that another way, and the text has to be theirs: write --origin {sent}"
        ),
        None => bail!(
            "--origin {origin:?} is no origin: write http or https, one host in ASCII, and the port where it is not the usual one, \
             such as https://shop.example or http://127.0.0.1:8080"
        ),
    }
}

/// What browsers send where `origin` is meant (RFC 6454, section 6.2); requests are compared with it letter for letter.
fn as_sent(origin: &str) -> Option<String> {
    let lower = origin.trim().to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").unwrap_or(("https", lower.as_str()));
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok().filter(|port| *port > 0)?),
        _ => (authority, usual),
    };
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => format!("[{}]", address.parse::<Ipv6Addr>().ok()?),
        None if host.split('.').all(is_label) => host.to_owned(),
        None => return None,
    };
    Some(if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_as_browsers_send_it_and_else_said_how() {
        for sent in ["https://shop.example", "http://shop.example:443", "http://127.0.0.1:8080", "https://[::1]:3000"] {
            check_origin(sent).unwrap();
        }
        for (meant, sent) in [
            ("https://shop.example/", "https://shop.example"),
            ("https://shop.example/cart?a=1", "https://shop.example"),
            ("shop.example", "https://shop.example"),
            ("HTTPS://Shop.Example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:080", "http://shop.example"),
            ("https://[0:0::1]", "https://[::1]"),
        ] {
            let error = check_origin(meant).unwrap_err().to_string();
            assert!(error.ends_with(&format!("write --origin {sent}")), "{error}");
        }
        for none in [
            "",
            "*",
            "https://",
            "https://*.shop.example",
            "ftp://shop.example",
            "https://me@shop.example",
            "https://shop.example:0",
            "https://shop.example:",
            "https://müller.example",
        ] {
            let error = check_origin(none).unwrap_err().to_string();
            assert!(error.contains("such as https://shop.example"), "{error}");
        }
    }

    #[test]
    fn no_key_is_made_for_an_origin_that_no_browser_sends() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::load(None, &[format!("data={}", folder.path().display())]).unwrap();
        let made = |origin: &str| create(&settings, "pages", "main", &[origin.to_owned()], &[]);
        made("https://shop.example/").unwrap_err();
        assert!(!settings.ingress.keys_file.exists());
        made("https://shop.example").unwrap();
        assert_eq!(keys::read(&settings.ingress.keys_file).unwrap()[0].origins, ["https://shop.example"]);
    }
}
