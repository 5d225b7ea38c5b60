//! The whole role over the embedded broker, and a process that hears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::Broker;
use broker_embedded::Embedded;
use cache::{Cache, Encodings, PageKey, Pages, PagesConfig, Rendered, Tag};
use faulty::Notes;
use futures::FutureExt as _;
use model::SystemClock;
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use testkit::wait::until;
use worker::Pauses;

use super::{both, mug, product, publish, region, stock};
use crate::{Config, Deps, Hearing, Refresh, hear, run};

/// A page that shows the mug, and how often it was rendered.
struct Page {
    pages: Arc<Pages>,
    renders: Arc<AtomicU64>,
}

impl Page {
    fn over(cache: &Arc<Cache>) -> Arc<Self> {
        // Never asks by itself: what it knows of purges it was told.
        let config = PagesConfig { trust_ms: 600_000, max_age_s: 600, ..PagesConfig::default() };
        Arc::new(Self { pages: Pages::new(Arc::clone(cache), &config), renders: Arc::default() })
    }

    async fn read(&self) -> u64 {
        let (renders, tag) = (Arc::clone(&self.renders), Tag::product(&region(), &mug()));
        let render = {
            let tag = tag.clone();
            move || async move {
                let number = renders.fetch_add(1, Ordering::SeqCst) + 1;
                Ok::<_, std::io::Error>(Rendered {
                    status: http::StatusCode::OK,
                    content_type: http::HeaderValue::from_static("text/plain"),
                    headers: Vec::new(),
                    body: number.to_string().into(),
                    tags: vec![tag],
                })
            }
        };
        let key = PageKey::new("page:eu:/p/MUG");
        let served = self.pages.get_or_render(&key, &[tag], Encodings::default(), render).await.unwrap();
        std::str::from_utf8(served.body()).unwrap().parse().unwrap()
    }

    fn hearing(self: &Arc<Self>, broker: Arc<dyn Broker>) -> Hearing {
        let page = Arc::clone(self);
        let refresh: Refresh = Arc::new(move |keys| {
            assert_eq!(keys, [PageKey::new("page:eu:/p/MUG")]);
            let page = Arc::clone(&page);
            async move {
                page.read().await;
            }
            .boxed()
        });
        Hearing { broker, pages: Arc::clone(&self.pages), rerender: 10, refresh, metrics: Metrics::new() }
    }
}

#[tokio::test]
async fn the_role_purges_what_both_kinds_of_events_name_and_a_read_page_is_rendered_again_before_anybody_asks() {
    for cache in both().await {
        let folder = tempfile::tempdir().unwrap();
        let config = broker_embedded::Config::default();
        let broker = Embedded::open(folder.path().join("queue"), config).await.unwrap();
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let deps = Deps {
            config: Config::default(),
            orders: broker.clone(),
            cache: Arc::clone(&cache),
            clock: Arc::new(SystemClock),
            pauses: Pauses::none(),
            witness: Arc::new(Notes::default()),
            readiness: readiness.clone(),
            metrics: Metrics::new(),
        };
        let tasks = Tasks::new();
        let role = tasks.spawn("invalidation", run(deps, shutdown.clone()));
        let page = Page::over(&cache);
        for _ in 0..10 {
            assert_eq!(page.read().await, 1);
        }
        let ear = tasks.spawn("hear", hear(page.hearing(broker.clone())));
        until("the role is ready", || async { readiness.report().ready.then_some(()) }).await.unwrap();

        let tags = [Tag::product(&region(), &mug()), Tag::stock(&region(), &mug())];
        let before = [cache.generation(&tags[0]).await, cache.generation(&tags[1]).await];
        let batch = vec![publish(product(1, &[])), publish(stock(1))];
        assert!(broker.publish(batch).await.iter().all(Result::is_ok));
        until("both tags are purged", || async {
            let after = [cache.generation(&tags[0]).await, cache.generation(&tags[1]).await];
            (after[0] != before[0] && after[1] != before[1]).then_some(())
        })
        .await
        .unwrap();
        until("the page is rendered again", || async { (page.renders.load(Ordering::SeqCst) == 2).then_some(()) })
            .await
            .unwrap();
        until("it is served", || async { (page.read().await == 2).then_some(()) }).await.unwrap();
        shutdown.request();
        role.await.unwrap().unwrap();
        broker.close().await;
        ear.await.unwrap();
        page.pages.drain().await;
    }
}
