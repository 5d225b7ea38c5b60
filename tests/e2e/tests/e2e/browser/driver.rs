//! A browser of one's own.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::wait;

/// Ports that are tried.
const TRIES: u32 = 5;

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) dark: bool,
    pub(super) phone: bool,
    pub(super) script: bool,
}

impl Look {
    pub(super) const DESKTOP: Self = Self { dark: false, phone: false, script: true };
    pub(super) const WITHOUT_SCRIPT: Self = Self { script: false, ..Self::DESKTOP };

    /// For the names of files.
    pub(super) fn name(self) -> String {
        let width = if self.phone { "phone" } else { "desktop" };
        format!("{width}-{}", if self.dark { "dark" } else { "light" })
    }

    fn capabilities(self, binary: &Path) -> Value {
        let scheme = u8::from(!self.dark);
        let mut options = json!({
            "binary": binary,
            "args": [
                "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                // Chromium's own sandbox does not start as root. It sees nothing but the pages of the test.
                "--no-sandbox",
                "--window-size=1280,900",
                format!("--blink-settings=preferredColorScheme={scheme}"),
            ],
        });
        if self.phone {
            options["mobileEmulation"] = json!({"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2.0}});
        }
        if !self.script {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        json!({"goog:chromeOptions": options})
    }
}

/// A driver and its one browser; both end with it.
pub(super) struct Browser {
    pub(super) client: Client,
    driver: Driver,
    look: Look,
}

/// A driver and what it writes.
struct Driver {
    process: Child,
    _home: TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Not SIGKILL: it ends its browsers first.
        let asked = Command::new("kill").args(["-s", "TERM", &self.process.id().to_string()]).status();
        if matches!(asked, Ok(status) if status.success()) {
            drop(self.process.wait());
        }
    }
}

impl Browser {
    pub(super) async fn open(look: Look) -> Result<Self> {
        let (driver, url) = tokio::task::spawn_blocking(Driver::start).await??;
        let Value::Object(capabilities) = look.capabilities(&installed("chromium")?) else { unreachable!("an object") };
        let client = ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&url).await;
        Ok(Self { client: client.context("Chromium starts")?, driver, look })
    }

    /// Ends the browser in good order; where a test fails before, the driver ends it.
    pub(super) async fn close(self) -> Result<()> {
        self.client.close().await?;
        drop(self.driver);
        Ok(())
    }

    /// What is visible of the first element; waits until it is there and says `text`.
    pub(super) async fn until_says(&self, css: &str, text: &str) -> Result<()> {
        let says = async || self.client.find(Locator::Css(css)).await.ok()?.text().await.ok();
        let what = format!("{css} says {text:?}");
        let waited = wait::until(&what, || async { says().await.filter(|said| said.contains(text)).map(drop) }).await;
        match waited {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(format!("the page is {}", self.client.source().await?))),
        }
    }

    pub(super) async fn click(&self, css: &str) -> Result<()> {
        let element = self.client.wait().for_element(Locator::Css(css)).await;
        element.with_context(|| format!("{css} is there"))?.click().await.with_context(|| format!("{css} is clicked"))
    }

    /// The path and query of the page.
    pub(super) async fn path(&self) -> Result<String> {
        let url = self.client.current_url().await?;
        Ok(url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())))
    }

    /// Waits until the page's path and query begin like this; the whole of them.
    pub(super) async fn until_at(&self, begin: &str) -> Result<String> {
        wait::until(&format!("the page is {begin}…"), || async {
            self.path().await.ok().filter(|path| path.starts_with(begin))
        })
        .await
    }

    pub(super) async fn evaluate(&self, expression: &str) -> Result<Value> {
        let value = self.client.execute(&format!("return {expression}"), Vec::new()).await;
        value.with_context(|| format!("{expression} is evaluated"))
    }

    /// Writes a picture of the whole page to `target/screenshots`.
    pub(super) async fn screenshot(&self, name: &str) -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/screenshots");
        std::fs::create_dir_all(&folder)?;
        let picture = self.client.screenshot().await?;
        std::fs::write(folder.join(format!("{name}-{}.png", self.look.name())), picture)?;
        Ok(())
    }
}

impl Driver {
    /// Starts one on a free port; its URL. The port is not chromedriver's to find: where there is no IPv6 it says 0.
    fn start() -> Result<(Self, String)> {
        for _ in 0..TRIES {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if let Some(driver) = Self::at(port)? {
                return Ok((driver, format!("http://127.0.0.1:{port}")));
            }
        }
        bail!("chromedriver did not start on any of {TRIES} ports")
    }

    /// None where it ends by itself: somebody else has taken the port meanwhile.
    fn at(port: u16) -> Result<Option<Self>> {
        let home = tempfile::tempdir()?;
        let mut process = Command::new(installed("chromedriver")?)
            .arg(format!("--port={port}"))
            .envs([("HOME", home.path()), ("TMPDIR", home.path()), ("XDG_CONFIG_HOME", home.path())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver starts")?;
        let said = process.stdout.take().context("what it says")?;
        let driver = Self { process, _home: home };
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        Ok(lines.any(|line| line.contains("started successfully")).then_some(driver))
    }
}

/// The path of a program.
fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists());
    ensure!(found.is_some(), "{name} is not installed: infra/test.sh does it (infra/services.sh browser)");
    found.context("it was found")
}
