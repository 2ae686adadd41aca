//! An invitation as an operator carries it from one machine to another: where to call, whom to believe there, and a secret that is good once.
//!
//! It holds the authority's public key, not a hash of it: the new machine believes this key and nothing else from its first connection on, so
//! whoever stands between cannot pass for the cluster.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use rand::RngCore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::net::{Authority, CertificateError};

/// What a token begins with: a later form begins otherwise.
const FORM: &str = "panther1-";
/// Bytes of the secret.
const SECRET: usize = 32;

/// Why a text is no invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is something else.
    #[error(
        "this is no invitation: it begins with {FORM}, as `pantherctl cluster invite` prints it"
    )]
    Other,
    /// It was cut or changed on its way.
    #[error(
        "this invitation is not whole (it has {0} characters): copy all of what `pantherctl cluster invite` printed, which is one line"
    )]
    Broken(usize),
}

/// An invitation of one node.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Invitation {
    /// The cluster.
    #[prost(string, tag = "1")]
    pub cluster: String,
    /// The node that invites, and is called.
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// Where it is reached.
    #[prost(string, tag = "3")]
    pub address: String,
    /// Good once.
    #[prost(bytes = "vec", tag = "4")]
    pub secret: Vec<u8>,
    /// The authority's name and public key, as in its certificate.
    #[prost(bytes = "vec", tag = "5")]
    subject: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    public_key: Vec<u8>,
    /// Finds out letters that were lost.
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

    /// As text of one line.
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

    /// From text.
    ///
    /// # Errors
    /// It is none, or not whole.
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

    /// Whom to believe.
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
