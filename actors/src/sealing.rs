//! Secrets (webhook URLs, keys) are sealed before they are proposed; ingest tokens are kept as hashes. What is sealed for
//! one row does not open for another.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use data_encoding::HEXLOWER;
use rand::RngCore;
use sha2::{Digest, Sha256};

/// Bytes of a nonce.
const NONCE: usize = 12;

/// Digits of a fingerprint.
const FINGERPRINT: usize = 16;

/// Tells one sealing key from another and says nothing else of it: the keys are random.
#[must_use]
pub fn fingerprint(key: &[u8]) -> String {
    let mut text = HEXLOWER.encode(
        &Sha256::new_with_prefix(b"panther sealing key ")
            .chain_update(key)
            .finalize(),
    );
    text.truncate(FINGERPRINT);
    text
}

/// Seals and opens with the cluster's key.
#[derive(Clone)]
pub struct Sealer {
    cipher: ChaCha20Poly1305,
    key: [u8; 32],
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its secret does not open: it was sealed with another key, or for another row")]
pub struct SealError;

impl Sealer {
    /// With this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            cipher: ChaCha20Poly1305::new(key.into()),
            key: *key,
        }
    }

    /// Seals a secret for a place (table and key), which must be named again to open it.
    ///
    /// # Errors
    /// The secret is too long for the cipher.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let sealed = self
            .cipher
            .encrypt(
                Nonce::from_slice(&nonce),
                Payload {
                    msg: secret,
                    aad: place.as_bytes(),
                },
            )
            .map_err(|_| SealError)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Bytes that only this cluster can derive, always the same for a purpose and a request: a retried request makes the
    /// same id or token again.
    #[must_use]
    pub fn derive(&self, purpose: &str, request_id: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update((purpose.len() as u64).to_be_bytes());
        hasher.update(purpose);
        hasher.update(request_id);
        hasher.finalize().into()
    }

    /// An id for what a request makes: by chance, or the same one for each retry of a request that can be retried.
    #[must_use]
    pub fn new_id(&self, purpose: &str, request: Option<&(String, u64)>) -> String {
        match request {
            None => uuid::Uuid::new_v4().to_string(),
            Some((request_id, _)) => {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&self.derive(purpose, request_id)[..16]);
                uuid::Builder::from_random_bytes(bytes)
                    .into_uuid()
                    .to_string()
            }
        }
    }

    /// A token for what a request makes; the same one for each retry.
    #[must_use]
    pub fn new_token(&self, request: Option<&(String, u64)>) -> String {
        match request {
            None => new_token(),
            Some((request_id, _)) => HEXLOWER.encode(&self.derive("token", request_id)[..24]),
        }
    }

    /// Opens what was sealed for a place.
    ///
    /// # Errors
    /// It was changed, or sealed for another place or with another key.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, content) = sealed.split_at_checked(NONCE).ok_or(SealError)?;
        self.cipher
            .decrypt(
                Nonce::from_slice(nonce),
                Payload {
                    msg: content,
                    aad: place.as_bytes(),
                },
            )
            .map_err(|_| SealError)
    }
}

/// A new token of 192 random bits, in hexadecimal.
fn new_token() -> String {
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// What is kept of a token.
#[must_use]
pub fn token_hash(token: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retried_request_makes_the_same_id_and_token_and_nobody_else_can() {
        let (sealer, other) = (Sealer::new(&[7; 32]), Sealer::new(&[8; 32]));
        let request = ("r".to_owned(), 1);
        assert_eq!(
            sealer.new_id("output", Some(&request)),
            sealer.new_id("output", Some(&request))
        );
        assert_ne!(
            sealer.new_id("output", Some(&request)),
            sealer.new_id("source", Some(&request))
        );
        assert_eq!(
            sealer.new_token(Some(&request)),
            sealer.new_token(Some(&request))
        );
        assert_ne!(
            sealer.new_token(Some(&request)),
            other.new_token(Some(&request))
        );
        assert_ne!(sealer.new_token(None), sealer.new_token(None));
    }

    #[test]
    fn a_secret_opens_only_in_its_place_with_its_key_and_unchanged() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer
            .seal("panther-outputs/1", b"https://example.com/hook")
            .unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"example"));
        assert_eq!(
            sealer.open("panther-outputs/1", &sealed).unwrap(),
            b"https://example.com/hook"
        );
        assert_eq!(sealer.open("panther-outputs/2", &sealed), Err(SealError));
        assert_eq!(
            Sealer::new(&[8; 32]).open("panther-outputs/1", &sealed),
            Err(SealError)
        );
        let mut changed = sealed;
        changed[20] ^= 1;
        assert_eq!(sealer.open("panther-outputs/1", &changed), Err(SealError));
    }
}
