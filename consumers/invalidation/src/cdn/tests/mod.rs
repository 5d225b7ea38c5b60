//! On the wire: Fastly and Cloudflare against a server that records, Varnish against Varnish.

mod recorder;
mod varnish;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use cache::Tag;
use model::{Clock, SystemClock};
use service::Tasks;
use service::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::{CdnConfig, Cdns};

fn tag(n: usize) -> Tag {
    Tag::product(&"eu".parse().unwrap(), &n.to_string().parse().unwrap())
}

/// CDNs that run.
struct Running {
    cdns: Arc<Cdns>,
    metrics: Metrics,
    finish: CancellationToken,
    tasks: Tasks,
}

impl Running {
    fn start(configs: impl IntoIterator<Item = (&'static str, CdnConfig)>) -> Self {
        let configs: BTreeMap<String, CdnConfig> =
            configs.into_iter().map(|(name, config)| (name.to_owned(), config)).collect();
        let (metrics, clock): (_, Arc<dyn Clock>) = (Metrics::new(), Arc::new(SystemClock));
        let cdns = Arc::new(Cdns::open(&configs, &clock, &metrics).unwrap());
        let (tasks, finish) = (Tasks::new(), CancellationToken::new());
        let (running, end) = (Arc::clone(&cdns), finish.clone());
        drop(tasks.spawn("cdns", async move { running.run(&end).await }));
        Self { cdns, metrics, finish, tasks }
    }

    fn purged(&self, tags: impl IntoIterator<Item = Tag>) {
        self.cdns.purged(&tags.into_iter().collect::<Vec<_>>());
    }

    async fn finish(self) {
        self.finish.cancel();
        self.tasks.join().await;
    }

    /// The value of a series, as `/metrics` writes it.
    fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics.text();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }
}
