//! What of the system behind the ingress a run can see, by the configuration that it was given.

use std::time::Duration;

use broker::{Broker, BrokerError, layout};
use capacity::{Observer, Queues};
use secrecy::{ExposeSecret as _, SecretString};
use store::Databases;
use tokio::time::{Instant, interval};

use crate::parts::{absent_file, open_broker};
use crate::settings::Settings;

/// How long RabbitMQ may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The observer, and where its figures come from or why they are missing.
pub(super) struct View {
    pub(super) observer: Observer,
    pub(super) queue_seen: String,
    pub(super) database_seen: String,
}

/// Opens what can be seen. Nothing that is missing stops a run: the report says so.
pub(super) async fn open(settings: Option<&Settings>) -> anyhow::Result<View> {
    let Some(settings) = settings else {
        let not = || "not observed: no configuration was given (--config)".to_owned();
        let observer = Observer::open(None, Vec::new()).await?;
        return Ok(View { observer, queue_seen: not(), database_seen: not() });
    };
    let (queues, queue_seen) = queues(settings).await;
    let databases = match settings.store.database.values().find_map(absent_file) {
        Some(why) => Err(why),
        None => Databases::open(&settings.store).map_err(|error| error.to_string()),
    };
    match databases {
        Ok(databases) => match Observer::open(Some(databases), queues).await {
            Ok(observer) => {
                let database_seen = "rows that its tables gain, once a second".to_owned();
                Ok(View { observer, queue_seen, database_seen })
            }
            Err(error) => blind(settings, queue_seen, format!("not observed: {error}")).await,
        },
        Err(why) => blind(settings, queue_seen, format!("not observed: {why}")).await,
    }
}

/// The queues alone.
async fn blind(settings: &Settings, queue_seen: String, database_seen: String) -> anyhow::Result<View> {
    let observer = Observer::open(None, queues(settings).await.0).await?;
    Ok(View { observer, queue_seen, database_seen })
}

async fn queues(settings: &Settings) -> (Vec<Queues>, String) {
    let orders = settings.store.region.iter().map(|region| layout::checkout_queue(&region.name)).collect();
    let events = vec![layout::analytics_pages_queue()];
    if is_embedded(&settings.broker.orders) {
        return (Vec::new(), "orders accepted minus orders stored (an embedded queue is its process's own)".to_owned());
    }
    let broker = match connect(settings, "orders", &settings.broker.orders).await {
        Ok(broker) => broker,
        Err(why) => return (Vec::new(), format!("orders accepted minus orders stored: {why}")),
    };
    let seen = "the broker's queues, messages ready".to_owned();
    if settings.broker.events.expose_secret().is_empty() {
        return (vec![Queues { broker, orders, events }], seen);
    }
    let mut queues = vec![Queues { broker, orders, events: Vec::new() }];
    if !is_embedded(&settings.broker.events)
        && let Ok(broker) = connect(settings, "events", &settings.broker.events).await
    {
        queues.push(Queues { broker, orders: Vec::new(), events });
    }
    (queues, seen)
}

fn is_embedded(url: &SecretString) -> bool {
    url.expose_secret().starts_with("embedded:")
}

async fn connect(settings: &Settings, name: &str, url: &SecretString) -> Result<std::sync::Arc<dyn Broker>, String> {
    let broker = open_broker(settings, name, url).await.map_err(|error| format!("{error:#}"))?;
    // It is connected to in the background: ask until it is there or the patience is over.
    let mut ask = interval(ASK_AGAIN);
    let give_up = Instant::now() + PATIENCE;
    loop {
        ask.tick().await;
        match broker.info().await {
            Ok(_) => return Ok(broker),
            Err(BrokerError::Unavailable(_)) if Instant::now() < give_up => {}
            Err(error) => {
                broker.close().await;
                return Err(error.to_string());
            }
        }
    }
}
