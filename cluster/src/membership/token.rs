//! An invitation as text, which an operator carries from one machine to another: the address to call, the CA to trust, and a secret for one use.
//!
//! It contains the CA's public key, not a hash of it. The new machine trusts only this key from its first connection on, so a man in the middle
//! cannot impersonate the cluster.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use rand::RngCore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::net::{Authority, CertificateError};

/// Prefix of a token. A later version has another prefix.
const FORM: &str = "panther1-";
/// Length of the secret in bytes.
const SECRET: usize = 32;

/// Why a text is not an invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text has another prefix.
    #[error(
        "this is no invitation: it begins with {FORM}, as `pantherctl cluster invite` prints it"
    )]
    Other,
    /// The text was truncated or changed. The value is its length in characters.
    #[error(
        "this invitation is not whole (it has {0} characters): copy all of what `pantherctl cluster invite` printed, which is one line"
    )]
    Broken(usize),
}

/// An invitation for one node.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Invitation {
    /// Name of the cluster.
    #[prost(string, tag = "1")]
    pub cluster: String,
    /// The inviting node, which the new machine calls.
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// Address of that node.
    #[prost(string, tag = "3")]
    pub address: String,
    /// The secret. It can be used once.
    #[prost(bytes = "vec", tag = "4")]
    pub secret: Vec<u8>,
    /// Name (subject) of the CA, as in its certificate.
    #[prost(bytes = "vec", tag = "5")]
    subject: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    public_key: Vec<u8>,
    /// CRC-32 of the encoded invitation with this field set to 0. It detects lost characters.
    #[prost(fixed32, tag = "7")]
    sum: u32,
}

impl Invitation {
    pub(super) fn new(
        authority: &Authority,
        node: u64,
        address: &str,
    ) -> Result<Self, CertificateError> {
        let failed = |reason: String| CertificateError::new(authority.cluster(), reason);
        let certificate = CertificateDer::from_pem_slice(authority.certificate().as_bytes())
            .map_err(|error| failed(error.to_string()))?;
        let anchor = webpki::anchor_from_trusted_cert(&certificate)
            .map_err(|error| failed(error.to_string()))?;
        let mut secret = vec![0; SECRET];
        rand::rng().fill_bytes(&mut secret);
        Ok(Self {
            cluster: authority.cluster().to_owned(),
            node,
            address: address.to_owned(),
            secret,
            subject: anchor.subject.to_vec(),
            public_key: anchor.subject_public_key_info.to_vec(),
            sum: 0,
        })
    }

    /// The invitation as one line of text.
    #[must_use]
    pub fn token(&self) -> String {
        let unsummed = Self {
            sum: 0,
            ..self.clone()
        };
        let sum = crc32fast::hash(&unsummed.encode_to_vec());
        let summed = Self { sum, ..unsummed };
        format!("{FORM}{}", URL_SAFE_NO_PAD.encode(summed.encode_to_vec()))
    }

    /// Parses an invitation.
    ///
    /// # Errors
    /// The text is not an invitation, or it was changed.
    pub fn read(token: &str) -> Result<Self, TokenError> {
        let token = token.trim();
        let Some(text) = token.strip_prefix(FORM) else {
            return Err(TokenError::Other);
        };
        let broken = || TokenError::Broken(token.len());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken())?;
        let read = Self::decode(bytes.as_slice()).map_err(|_| broken())?;
        let (sum, unsummed) = (read.sum, Self { sum: 0, ..read });
        if crc32fast::hash(&unsummed.encode_to_vec()) != sum {
            return Err(broken());
        }
        Ok(unsummed)
    }

    /// The CA to trust, as a trust anchor for TLS.
    pub(super) fn anchor(&self) -> TrustAnchor<'static> {
        TrustAnchor {
            subject: self.subject.clone().into(),
            subject_public_key_info: self.public_key.clone().into(),
            name_constraints: None,
        }
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "an invitation of node {} of cluster {} at {}",
            self.node, self.cluster, self.address
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invitation() -> Invitation {
        let authority = Authority::create("c1").unwrap();
        Invitation::new(&authority, 3, "10.0.0.3:8688").unwrap()
    }

    #[test]
    fn a_token_says_what_the_invitation_said() {
        let invitation = invitation();
        let token = invitation.token();
        assert_eq!(
            Invitation::read(&format!("  {token}\n")).unwrap(),
            invitation
        );
        assert!(token.len() < 450, "{} letters", token.len());
    }

    #[test]
    fn what_is_no_token_is_told_from_one_that_was_cut() {
        let token = invitation().token();
        assert_eq!(Invitation::read("kube:abc").unwrap_err(), TokenError::Other);
        for cut in [token.len() - 1, token.len() - 9, FORM.len() + 1] {
            assert!(matches!(
                Invitation::read(&token[..cut]),
                Err(TokenError::Broken(_))
            ));
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let invitation = invitation();
        let shown = format!("{invitation:?}");
        assert!(!shown.contains(&format!("{:?}", invitation.secret)));
        assert!(shown.len() < 100, "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_fail_otherwise(text in "(panther1-)?[A-Za-z0-9_-]{0,300}") {
            let _ = Invitation::read(&text);
        }
    }
}
