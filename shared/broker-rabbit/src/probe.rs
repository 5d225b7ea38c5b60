//! What the broker says of itself. lapin keeps the greeting (`connection.start`) to itself, so a connection of our own
//! reads it and hangs up; RabbitMQ logs that as a client that left early.

use std::time::Duration;

use broker::{BrokerError, BrokerInfo};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use lapin::tcp::{AMQPUriTcpExt as _, TLSConfig};
use lapin::types::FieldTable;
use lapin::types::parsing::parse_field_table;
use tokio::time::timeout;

/// Before any negotiation a frame has at most 4,096 bytes (section 2.3.5 of the specification); RabbitMQ keeps to it.
const MAX_GREETING: usize = 8 * 1_024;
/// Frame header (type, channel, size), class and method, protocol version.
const BEFORE_PROPERTIES: usize = 7 + 4 + 2;
/// Class and method of `connection.start`.
const START: [u8; 4] = [0, 10, 0, 10];
/// The oldest RabbitMQ whose quorum queues have a time to live and dead-letter at least once.
const OLDEST: (u32, u32) = (3, 10);

/// Asks the broker at `url`.
pub(crate) async fn info(url: &str, limit: Duration) -> Result<BrokerInfo, BrokerError> {
    let properties = match timeout(limit, greeting(url)).await {
        Ok(greeted) => greeted.map_err(BrokerError::Unavailable)?,
        Err(_elapsed) => return Err(BrokerError::Unavailable(format!("no answer within {limit:?}"))),
    };
    let text = |name: &str| {
        let value = properties.inner().get(name).and_then(|value| value.as_long_string());
        value.map(ToString::to_string).unwrap_or_default()
    };
    let (product, version) = (text("product"), text("version"));
    let warnings = warnings(&product, &version);
    Ok(BrokerInfo { product, version, warnings })
}

async fn greeting(url: &str) -> Result<FieldTable, String> {
    let uri: lapin::uri::AMQPUri = url.parse()?;
    let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
    let mut stream =
        uri.connect_with_config_async(TLSConfig::default(), &runtime).await.map_err(|error| error.to_string())?;
    stream.write_all(b"AMQP\0\0\x09\x01").await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut head = [0; BEFORE_PROPERTIES];
    stream.read_exact(&mut head).await.map_err(|error| error.to_string())?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    if head[7..11] != START || size > MAX_GREETING {
        return Err("this is not an AMQP 0-9-1 broker".to_owned());
    }
    // The frame's size counts from the class on.
    let mut rest = vec![0; size.saturating_sub(BEFORE_PROPERTIES - 7)];
    stream.read_exact(&mut rest).await.map_err(|error| error.to_string())?;
    let parsed = parse_field_table(rest.as_slice());
    parsed.map(|(_rest, table)| table).map_err(|_error| "the broker's greeting can't be read".to_owned())
}

fn warnings(product: &str, version: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if product != "RabbitMQ" {
        warnings.push(format!("{product} is not RabbitMQ: quorum queues are needed, nothing else was tried"));
    }
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        warnings.push(format!(
            "RabbitMQ {version} is too old: the retry queues need 3.10, where quorum queues have a time to live and \
             safe dead-lettering"
        ));
    }
    warnings.push(
        "a single node tolerates the loss of none, and AMQP does not tell how many there are: look with `rabbitmqctl \
         cluster_status`; three nodes tolerate the loss of one"
            .to_owned(),
    );
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_lacks_what_retries_need_is_named() {
        let too_old = |version| warnings("RabbitMQ", version).iter().any(|text| text.contains("too old"));
        assert!(too_old("3.9.29"));
        assert!(too_old("unknown"));
        for version in ["3.10.8", "3.13.7", "4.0.5", "4.3.0-beta.1"] {
            assert!(!too_old(version), "{version}");
        }
    }
}
