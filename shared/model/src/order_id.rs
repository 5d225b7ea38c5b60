//! An order's id, computed from what the client sent: no lookup, no shared state, the same on every machine.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::ids::{IdempotencyKey, MarketId, RegionNumber};

/// Separates this digest from any other SHA-256 over the same inputs.
const DOMAIN: &[u8] = b"millpond/order-id/1";

/// A `UUIDv8` (RFC 9562, section 5.8): 16 bits of region number, then a prefix of SHA-256 over the length-prefixed market
/// id and idempotency key (106 bits remain after version and variant), so that
/// - the same key in the same market is the same order, whoever retries it and wherever it lands;
/// - any id names its region, and with it the database that holds the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Uuid", into = "Uuid")]
#[schemars(with = "Uuid")]
pub struct OrderId(Uuid);

/// A UUID that no order has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderIdError {
    /// Not a UUID at all.
    #[error("an order id is a UUID")]
    NotAUuid,
    /// A UUID of another version.
    #[error("an order id is a UUID of version 8")]
    NotVersion8,
}

impl OrderId {
    /// The id of the order that `market` posted with `key`.
    pub fn derive(region: RegionNumber, market: &MarketId, key: &IdempotencyKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(region.0.to_be_bytes());
        update_prefixed(&mut hash, market.as_str().as_bytes());
        update_prefixed(&mut hash, key.as_str().as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&region.0.to_be_bytes());
        bytes[2..].copy_from_slice(&digest[..14]);
        Self(Uuid::new_v8(bytes))
    }

    /// The region that the order belongs to, read from the id.
    pub fn region(self) -> RegionNumber {
        let bytes = self.0.as_bytes();
        RegionNumber(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The id as a UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl TryFrom<Uuid> for OrderId {
    type Error = OrderIdError;
    fn try_from(uuid: Uuid) -> Result<Self, OrderIdError> {
        if uuid.get_version_num() == 8 { Ok(Self(uuid)) } else { Err(OrderIdError::NotVersion8) }
    }
}

impl From<OrderId> for Uuid {
    fn from(id: OrderId) -> Uuid {
        id.0
    }
}

impl FromStr for OrderId {
    type Err = OrderIdError;
    fn from_str(text: &str) -> Result<Self, OrderIdError> {
        text.parse::<Uuid>().map_err(|_| OrderIdError::NotAUuid)?.try_into()
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 over an order's canonical fields: two posts under one key are the same order exactly when these agree.
/// Written as 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `fields`, each length-prefixed so that no two lists of fields run together.
    pub fn of<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for field in fields {
            update_prefixed(&mut hash, field);
        }
        Self(hash.finalize().into())
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = URL_SAFE_NO_PAD.decode(&text).map_err(|_| "a fingerprint is base64url".to_owned())?;
        bytes.try_into().map(Self).map_err(|_| "a fingerprint has 32 bytes".to_owned())
    }
}

impl From<Fingerprint> for String {
    fn from(value: Fingerprint) -> String {
        URL_SAFE_NO_PAD.encode(value.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl JsonSchema for Fingerprint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fingerprint".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{43}$", "description": "SHA-256, base64url" })
    }
}

fn update_prefixed(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inputs() -> impl Strategy<Value = (u16, MarketId, IdempotencyKey)> {
        (any::<u16>(), "[a-z0-9-]{1,32}", "[ -~]{1,40}")
            .prop_map(|(region, market, key)| (region, market.parse().unwrap(), key.try_into().unwrap()))
    }

    fn derive((region, market, key): &(u16, MarketId, IdempotencyKey)) -> OrderId {
        OrderId::derive(RegionNumber(*region), market, key)
    }

    proptest! {
        #[test]
        fn the_same_inputs_give_the_same_id_and_any_other_input_another(one in inputs(), other in inputs()) {
            prop_assert_eq!(derive(&one), derive(&one.clone()));
            prop_assert_eq!(derive(&one) == derive(&other), one == other);
        }

        #[test]
        fn a_change_of_one_part_alone_gives_another_id(one in inputs(), other in inputs()) {
            for changed in [
                (other.0, one.1.clone(), one.2.clone()),
                (one.0, other.1.clone(), one.2.clone()),
                (one.0, one.1.clone(), other.2.clone()),
            ] {
                prop_assert_eq!(derive(&one) == derive(&changed), one == changed);
            }
        }

        #[test]
        fn the_region_is_read_back_from_the_id_and_the_id_from_its_text(one in inputs()) {
            let id = derive(&one);
            prop_assert_eq!(id.region(), RegionNumber(one.0));
            prop_assert_eq!(id.to_string().parse::<OrderId>(), Ok(id));
            prop_assert_eq!(id.as_uuid().get_version_num(), 8);
        }
    }

    #[test]
    fn market_and_key_do_not_run_together() {
        let id = |market: &str, key: &str| derive(&(1, market.parse().unwrap(), key.parse().unwrap()));
        assert_ne!(id("eu", "1x"), id("eu1", "x"));
    }

    #[test]
    fn an_id_of_a_released_version_never_changes() {
        let id = OrderId::derive(RegionNumber(258), &"eu".parse().unwrap(), &"order-17".parse().unwrap());
        assert_eq!(id.to_string(), "0102847b-54aa-8d7d-85a5-fc40022f60c5");
    }
}
