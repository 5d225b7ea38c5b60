//! How verbs speak to the operator API: over HTTP, so that they work beside a running embedded process.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(30);
/// An answer at most, bytes.
const MOST: usize = 64 << 20;

/// Where the operator API is, and who asks.
#[derive(Debug, Args)]
pub(crate) struct OpsArgs {
    /// Where the operator API is.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "The operator API, as in http://127.0.0.1:8090 [default: the one that a process with this data folder serves, \
                else ops.bind]"
    )]
    pub(crate) ops: Option<String>,
    /// Who asks.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "A file with an operator's token [default: MILLPOND_OPS_TOKEN, else the data folder's ops.token]"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The token itself; a command line shows it to everybody on the machine, so it is taken from the environment alone.
    #[arg(skip = std::env::var("MILLPOND_OPS_TOKEN").ok())]
    token: Option<String>,
    /// Print the API's answer as it came.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Where a process leaves the token of its local operator.
pub(crate) fn token_path(settings: &Settings) -> PathBuf {
    settings.data.join("ops.token")
}

fn url_path(settings: &Settings) -> PathBuf {
    settings.data.join("ops.url")
}

/// Leaves where the operator API is for verbs with the same data folder.
///
/// # Errors
/// The file system's.
pub(crate) fn leave_url(settings: &Settings, address: SocketAddr) -> anyhow::Result<()> {
    leave(&url_path(settings), &format!("http://{address}\n"))
}

/// Writes a file that its owner alone may read: aside, and renamed into place.
pub(crate) fn leave(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        // Readable by its owner alone, as temporary files are made.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path).map(drop).map_err(|refused| refused.error)
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

/// One operator at one API.
#[derive(Debug)]
pub(crate) struct Client {
    url: String,
    /// Who named the URL.
    named_by: String,
    token: String,
}

impl Client {
    /// By the arguments, the environment, and what a process left in the data folder.
    ///
    /// # Errors
    /// What is missing, and what to do.
    pub(crate) fn new(settings: &Settings, args: &OpsArgs) -> anyhow::Result<Self> {
        let left = url_path(settings);
        let (url, named_by) = match (&args.ops, std::fs::read_to_string(&left)) {
            (Some(url), _) => (url.clone(), "--ops".to_owned()),
            (None, Ok(url)) => (url, left.display().to_string()),
            (None, Err(_)) => (format!("http://{}", settings.ops.bind), "ops.bind".to_owned()),
        };
        let url = url.trim().trim_end_matches('/').to_owned();
        if !url.starts_with("http://") {
            bail!("--ops {url}: write it as http://host:port; for a proxy that speaks TLS, use a client of your own");
        }
        let file = |path: &Path| std::fs::read_to_string(path).map(|token| token.trim().to_owned());
        let token = match (&args.token_file, &args.token) {
            (Some(path), _) => file(path).with_context(|| format!("--token-file {} can't be read", path.display()))?,
            (None, Some(token)) => token.clone(),
            (None, None) => file(&token_path(settings)).with_context(|| {
                format!(
                    "there is no operator's token: give one with --token-file or MILLPOND_OPS_TOKEN (`millpond keys operator \
                     --name NAME` makes one); {} can't be read",
                    token_path(settings).display()
                )
            })?,
        };
        Ok(Self { url, named_by, token })
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// Sends a request, and reads its answer.
    ///
    /// # Errors
    /// The API's problem in its own words; what to do where nobody answers.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .with_context(|| format!("--ops {}: this is no URL, or the token is none", self.url))?;
        let http = Http::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let exchange = async {
            let response = http.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            anyhow::Ok((status, body))
        };
        let answered = tokio::time::timeout(TIMEOUT, exchange).await;
        let (status, body) = answered.context("no answer in time").flatten().with_context(|| {
            format!(
                "the operator API does not answer at {}: is `millpond run all` or `millpond run ops` running, and does it \
                 listen there (--ops, ops.bind)?",
                self.url
            )
        })?;
        self.answer(status, &body)
    }

    /// What an answer says. Every route gives an object: anything else is some other server's success.
    fn answer(&self, status: StatusCode, body: &[u8]) -> anyhow::Result<Value> {
        let Self { url, named_by, .. } = self;
        let code = status.as_u16();
        let answer: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
        let whose = format!("is it Millpond's operator API? The address is from {named_by}");
        if status.is_success() {
            return answer.with_context(|| format!("{url} answers {code} without a JSON object: {whose}"));
        }
        let detail = answer.as_ref().and_then(|answer| answer["detail"].as_str());
        let hint = if status == StatusCode::UNAUTHORIZED { " (--token-file, MILLPOND_OPS_TOKEN)" } else { "" };
        match detail {
            Some(detail) => bail!("{url} answers {code}: {detail}{hint}"),
            None => bail!("{url} answers {code}, and does not say why: {whose}{hint}"),
        }
    }
}

/// `text` as a part of a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A number of an answer, or that it is unknown.
pub(crate) fn number(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_u64() => number.to_string(),
        Value::Number(number) => number.as_f64().map_or_else(|| "unknown".to_owned(), |number| format!("{number:.1}")),
        _ => "unknown".to_owned(),
    }
}

/// Text of an answer, or nothing.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Says which databases are missing in an answer.
pub(crate) fn complain_of_silent(answer: &Value) {
    for silent in answer["silent"].as_array().into_iter().flatten() {
        let (database, why) = (text(&silent["database"]), text(&silent["why"]));
        super::complain(&format!("the database {database} did not answer, so what it knows is missing here: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_that_is_not_the_operator_apis_is_none_and_is_told_with_where_its_address_is_from() {
        let client = Client {
            url: "http://127.0.0.1:8090".to_owned(),
            named_by: "millpond-data/ops.url".to_owned(),
            token: String::new(),
        };
        assert_eq!(client.answer(StatusCode::OK, b"{\"queues\": []}").unwrap(), serde_json::json!({"queues": []}));
        for body in ["", "<!doctype html>", "null", "\"ok\"", "[]"] {
            for status in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
                let error = client.answer(status, body.as_bytes()).unwrap_err().to_string();
                for said in ["http://127.0.0.1:8090", "Millpond's operator API?", "from millpond-data/ops.url"] {
                    assert!(error.contains(said), "{status} {body:?}: {error}");
                }
            }
        }
        let problem = client.answer(StatusCode::NOT_FOUND, b"{\"detail\": \"there is no queue\"}").unwrap_err();
        assert_eq!(problem.to_string(), "http://127.0.0.1:8090 answers 404: there is no queue");
    }
}
