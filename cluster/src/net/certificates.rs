//! A node's identity towards other nodes: a certificate of the cluster's own certificate authority (CA), which names cluster and node.
//!
//! Each cluster creates its own CA. Public CAs are not trusted. A certificate serves as client and as server certificate, and both sides verify it
//! (mutual TLS).

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Why a certificate cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("a certificate of cluster {cluster} cannot be made: {reason}")]
pub struct CertificateError {
    cluster: String,
    reason: String,
}

impl CertificateError {
    pub(crate) fn new(cluster: &str, reason: String) -> Self {
        Self {
            cluster: cluster.to_owned(),
            reason,
        }
    }
}

/// The cluster's CA. The holder of its key can issue certificates for nodes, so the key is a secret.
pub struct Authority {
    cluster: String,
    key: KeyPair,
    certificate: String,
}

/// One node's certificate, its key, and the CAs that the node trusts. The key is a secret.
#[derive(Clone)]
pub struct Certificates {
    cluster: String,
    node: u64,
    /// Certificates of the trusted CAs, each as PEM: one, or two during a CA rotation.
    believed: Vec<String>,
    certificate: String,
    key: String,
}

/// The node's name in its certificate.
fn name(cluster: &str, node: u64) -> String {
    format!("node-{node}.{cluster}.panther")
}

fn authority_params(cluster: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("panther cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// Creates the CA of a new cluster. The cluster's name consists of letters, digits and hyphens.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn create(cluster: &str) -> Result<Self, CertificateError> {
        let failed = failed(cluster);
        let key = KeyPair::generate().map_err(&failed)?;
        let certificate = authority_params(cluster)
            .self_signed(&key)
            .map_err(&failed)?;
        Ok(Self {
            cluster: cluster.to_owned(),
            certificate: certificate.pem(),
            key,
        })
    }

    /// Opens a stored CA.
    ///
    /// # Errors
    /// The key is not a valid PEM key.
    pub fn open(cluster: &str, key: &str, certificate: &str) -> Result<Self, CertificateError> {
        Ok(Self {
            cluster: cluster.to_owned(),
            key: KeyPair::from_pem(key).map_err(failed(cluster))?,
            certificate: certificate.to_owned(),
        })
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The CA's private key as PEM, for encrypted storage. A secret.
    #[must_use]
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// The CA's certificate as PEM. Every node trusts it.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a node's certificate and key.
    ///
    /// # Errors
    /// The cluster's name is not valid in a certificate, or the system has no randomness.
    pub fn issue(&self, node: u64) -> Result<Certificates, CertificateError> {
        let failed = failed(&self.cluster);
        let mut params =
            CertificateParams::new(vec![name(&self.cluster, node)]).map_err(&failed)?;
        params
            .distinguished_name
            .push(DnType::CommonName, name(&self.cluster, node));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().map_err(&failed)?;
        let issuer = Issuer::new(authority_params(&self.cluster), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(&failed)?;
        Ok(Certificates {
            cluster: self.cluster.clone(),
            node,
            believed: vec![self.certificate.clone()],
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn failed(cluster: &str) -> impl Fn(rcgen::Error) -> CertificateError {
    let cluster = cluster.to_owned();
    move |error| CertificateError {
        cluster: cluster.clone(),
        reason: error.to_string(),
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "the authority of cluster {}", self.cluster)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "the certificate of {}", name(&self.cluster, self.node))
    }
}

impl Certificates {
    /// Restores stored certificates: the certificates of the trusted CAs, the node's own certificate and its key, all as PEM.
    #[must_use]
    pub fn kept(
        cluster: &str,
        node: u64,
        believed: Vec<String>,
        certificate: &str,
        key: &str,
    ) -> Self {
        Self {
            cluster: cluster.to_owned(),
            node,
            believed,
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }
    }

    /// A copy that trusts these CAs instead.
    #[must_use]
    pub fn believing(&self, believed: Vec<String>) -> Self {
        Self {
            believed,
            ..self.clone()
        }
    }

    /// The certificates of the trusted CAs, each as PEM.
    #[must_use]
    pub fn believed(&self) -> &[String] {
        &self.believed
    }

    /// The node's certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The node's key, as PEM. A secret.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.node
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }

    /// TLS settings for calls to one node. Another node at the same address fails the handshake.
    pub(super) fn calling(&self, node: u64) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificates(self.believed.iter().map(Certificate::from_pem))
            .identity(self.identity())
            .domain_name(name(&self.cluster, node))
    }

    /// TLS settings for calls of nodes of this cluster, and of machines without a certificate: such a machine may only show an invitation.
    ///
    /// # Errors
    /// Certificate or key cannot be read.
    pub(super) fn called(&self) -> Result<ServerConfig, CertificateError> {
        let failed = |error: &dyn fmt::Display| CertificateError {
            cluster: self.cluster.clone(),
            reason: error.to_string(),
        };
        let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes());
        let provider = Arc::new(ring::default_provider());
        let mut believed = RootCertStore::empty();
        for authority in &self.believed {
            let authority = read(authority).map_err(|error| failed(&error))?;
            believed.add(authority).map_err(|error| failed(&error))?;
        }
        let callers =
            WebPkiClientVerifier::builder_with_provider(Arc::new(believed), provider.clone())
                .allow_unauthenticated()
                .build()
                .map_err(|error| failed(&error))?;
        let shown = read(&self.certificate).map_err(|error| failed(&error))?;
        let key =
            PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| failed(&error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_client_cert_verifier(callers)
            .with_single_cert(vec![shown], key)
            .map_err(|error| failed(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// TLS settings for calls to a node by a machine that has no certificate yet. The called node is verified against the CA `anchor`.
pub(crate) fn calling_as_stranger(
    anchor: TrustAnchor<'static>,
    cluster: &str,
    node: u64,
) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .trust_anchor(anchor)
        .domain_name(name(cluster, node))
}

/// The node that a caller's certificate names; `None` if the certificate names no node of the cluster. TLS has verified the certificate's signature
/// before.
pub(super) fn node_of(certificate: &CertificateDer<'_>, cluster: &str) -> Option<u64> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    let (shown, None) = (names.next()?, names.next()) else {
        return None;
    };
    let node = shown
        .strip_prefix("node-")?
        .split('.')
        .next()?
        .parse()
        .ok()?;
    (shown == name(cluster, node)).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_its_nodes_and_no_other_ones() {
        let authority = Authority::create("c1").unwrap();
        let kept = Authority::open("c1", &authority.key(), authority.certificate()).unwrap();
        for authority in [authority, kept] {
            let certificates = authority.issue(3).unwrap();
            let shown =
                CertificateDer::from_pem_slice(certificates.certificate.as_bytes()).unwrap();
            assert_eq!(node_of(&shown, "c1"), Some(3));
            assert_eq!(node_of(&shown, "c2"), None);
        }
    }

    #[test]
    fn no_key_is_shown() {
        let authority = Authority::create("c1").unwrap();
        let shown = format!("{authority:?} {:?}", authority.issue(1).unwrap());
        assert!(!shown.contains("BEGIN"), "{shown}");
    }
}
