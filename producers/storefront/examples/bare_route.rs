//! What a cached page is measured against: routes of plain axum that do nothing but answer.
//!
//! ```text
//! bare_route BYTES
//! ```
//!
//! `/page` answers with so many bytes of HTML, `/held` with a 304. Prints the port, and serves until it is ended.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bytes] = &arguments[..] else { bail!("usage: bare_route BYTES") };
    let body = Bytes::from(vec![b'x'; bytes.parse().context("BYTES is a whole number")?]);
    let page = move || {
        let body = body.clone();
        async move { ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body) }
    };
    let held = || async { (StatusCode::NOT_MODIFIED, [(header::ETAG, "\"0123456789abcdef0123456789abcdef\"")]) };
    let router = Router::new().route("/page", get(page)).route("/held", get(held));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    // As every server of the product has it.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
