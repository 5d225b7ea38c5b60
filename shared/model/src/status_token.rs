//! The signed token of an order's status URL: permission to read, and proof of acceptance.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::order_id::{Fingerprint, OrderId};

/// Version byte, order id, fingerprint, `accepted_at` in microseconds.
const PAYLOAD_LEN: usize = 1 + 16 + 32 + 8;
const TAG_LEN: usize = 32;
const VERSION: u8 = 1;

/// The secret that signs status tokens: at least 32 bytes, the same for every ingress and storefront of a shop.
#[derive(Clone)]
pub struct TokenKey(Vec<u8>);

impl TokenKey {
    /// The shortest key, in bytes: the output length of SHA-256 (RFC 2104, section 3).
    pub const MIN_LEN: usize = 32;

    /// A key of these bytes.
    ///
    /// # Errors
    /// [`TokenError::WeakKey`] below [`Self::MIN_LEN`] bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, TokenError> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN_LEN { Err(TokenError::WeakKey(bytes.len())) } else { Ok(Self(bytes)) }
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(payload);
        mac
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// What a token can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A key with too little entropy.
    #[error("the status token key has {0} bytes, at least 32 are needed")]
    WeakKey(usize),
    /// Not base64url, of the wrong length, of an unknown version or not signed by this key. One answer for all of
    /// them: a forger learns nothing.
    #[error("the token of the status URL is not valid")]
    Invalid,
}

/// What the 202 promised: this order, with these contents, was accepted at this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusToken {
    /// The order.
    pub order_id: OrderId,
    /// Its contents.
    pub fingerprint: Fingerprint,
    /// When the ingress took it.
    pub accepted_at: DateTime<Utc>,
}

impl StatusToken {
    /// The token as text for a URL: base64url, HMAC-SHA256 (RFC 2104) at its end.
    pub fn sign(&self, key: &TokenKey) -> String {
        let mut bytes = Vec::with_capacity(PAYLOAD_LEN + TAG_LEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.order_id.as_uuid().as_bytes());
        bytes.extend_from_slice(self.fingerprint.as_bytes());
        bytes.extend_from_slice(&self.accepted_at.timestamp_micros().to_be_bytes());
        let tag = key.mac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token back. The comparison takes the same time whatever the difference.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] where the text was not signed by `key`.
    pub fn verify(text: &str, key: &TokenKey) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Invalid)?;
        if bytes.len() != PAYLOAD_LEN + TAG_LEN || bytes[0] != VERSION {
            return Err(TokenError::Invalid);
        }
        let (payload, tag) = bytes.split_at(PAYLOAD_LEN);
        key.mac(payload).verify_slice(tag).map_err(|_| TokenError::Invalid)?;
        let uuid = uuid::Uuid::from_slice(&payload[1..17]).map_err(|_| TokenError::Invalid)?;
        let fingerprint: [u8; 32] = payload[17..49].try_into().map_err(|_| TokenError::Invalid)?;
        let micros: [u8; 8] = payload[49..].try_into().map_err(|_| TokenError::Invalid)?;
        Ok(Self {
            order_id: uuid.try_into().map_err(|_| TokenError::Invalid)?,
            fingerprint: fingerprint.into(),
            accepted_at: DateTime::from_timestamp_micros(i64::from_be_bytes(micros)).ok_or(TokenError::Invalid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegionNumber;

    fn token() -> StatusToken {
        StatusToken {
            order_id: OrderId::derive(RegionNumber(7), &"eu".parse().unwrap(), &"k".parse().unwrap()),
            fingerprint: Fingerprint::of([b"body".as_slice()]),
            accepted_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
        }
    }

    #[test]
    fn a_signed_token_is_read_back_whole() {
        let key = TokenKey::new([7; 32]).unwrap();
        assert_eq!(StatusToken::verify(&token().sign(&key), &key), Ok(token()));
    }

    #[test]
    fn a_token_of_another_key_or_with_one_bit_changed_is_refused() {
        let key = TokenKey::new([7; 32]).unwrap();
        let other = TokenKey::new([8; 32]).unwrap();
        assert_eq!(StatusToken::verify(&token().sign(&other), &key), Err(TokenError::Invalid));
        let bytes = URL_SAFE_NO_PAD.decode(token().sign(&key)).unwrap();
        for position in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[position] ^= 1;
            assert_eq!(StatusToken::verify(&URL_SAFE_NO_PAD.encode(forged), &key), Err(TokenError::Invalid));
        }
        assert_eq!(StatusToken::verify("", &key), Err(TokenError::Invalid));
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(matches!(TokenKey::new([1; 31]), Err(TokenError::WeakKey(31))));
    }
}
