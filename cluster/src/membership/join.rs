//! How a machine becomes a node: it shows the secret of an invitation to a node, which it authenticates by the public key of the CA. It receives an
//! id, a certificate, the CA and the key with which the cluster encrypts secrets.

use std::fmt;
use std::sync::{OnceLock, Weak};
use std::time::Duration;

use panther_proto::v1::joining_client::JoiningClient;
use panther_proto::v1::{JoinAnswer, JoinCall};
use tonic::Status;
use tonic::transport::Endpoint;

use super::rows::{Member, Standing};
use super::{Inner, Invitation, Members, MembersError};
use crate::net::{Admits, Authority, CertificateError, Certificates, calling_as_stranger};
use crate::state::FORMAT;

/// Deadline of the whole call.
const CALL: Duration = Duration::from_secs(20);

/// What a machine receives when it becomes a node. All of it is secret.
pub struct Joined {
    /// The id of the new node.
    pub node: u64,
    /// Certificate and key of the new node, and the CA that it trusts.
    pub certificates: Certificates,
    /// The cluster's CA, so that the new node can admit others.
    pub authority: Authority,
    /// Key with which the cluster encrypts secrets.
    pub sealing_key: Vec<u8>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "node {} of cluster {}",
            self.node,
            self.authority.cluster()
        )
    }
}

/// Why a machine is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The inviting node cannot be reached.
    #[error(
        "node {node} at {address}, which made the invitation, is not reached: {reason}; is it up, and is its cluster.listen open to this machine?"
    )]
    NotReached {
        /// The inviting node.
        node: u64,
        /// Its address.
        address: String,
        /// Reason.
        reason: String,
    },
    /// The inviting node refuses.
    #[error("node {node} at {address} refuses: {reason}")]
    Refused {
        /// The inviting node.
        node: u64,
        /// Its address.
        address: String,
        /// Reason.
        reason: String,
    },
    /// The received certificates cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Shows an invitation to the node that created it. The caller must store the answer before the node starts, because the invitation can be used only
/// once.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(
    invitation: &Invitation,
    name: &str,
    address: &str,
    version: &str,
) -> Result<Joined, JoinError> {
    let (node, at) = (invitation.node, invitation.address.as_str());
    let not_reached = |error: &dyn std::error::Error| JoinError::NotReached {
        node,
        address: at.to_owned(),
        reason: with_causes(error),
    };
    let tls = calling_as_stranger(invitation.anchor(), &invitation.cluster, node);
    let channel = Endpoint::from_shared(format!("https://{at}"))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| not_reached(&error))?
        .connect_timeout(CALL / 4)
        .timeout(CALL)
        .connect()
        .await
        .map_err(|error| not_reached(&error))?;
    let call = JoinCall {
        cluster: invitation.cluster.clone(),
        secret: invitation.secret.clone().into(),
        name: name.to_owned(),
        address: address.to_owned(),
        version: version.to_owned(),
        format: FORMAT,
    };
    let answer = JoiningClient::new(channel).join(call).await;
    let answer = answer.map_err(|status| JoinError::Refused {
        node,
        address: at.to_owned(),
        reason: status.message().to_owned(),
    })?;
    let answer: JoinAnswer = answer.into_inner();
    let cluster = &invitation.cluster;
    Ok(Joined {
        node: answer.node,
        certificates: Certificates::kept(
            cluster,
            answer.node,
            vec![answer.authority.clone()],
            &answer.certificate,
            &answer.key,
        ),
        authority: Authority::open(cluster, &answer.authority_key, &answer.authority)?,
        sealing_key: answer.sealing_key.into(),
    })
}

/// The error with its chain of causes. A transport error itself does not name the cause.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Handler of join calls. It refuses them until this node's membership is started.
#[derive(Default)]
pub struct Gate {
    members: OnceLock<Weak<Inner>>,
}

impl Gate {
    pub(super) fn open(&self, members: &Members) {
        let _ = self.members.set(std::sync::Arc::downgrade(&members.inner)); // this is the only call of `set`
    }
}

#[tonic::async_trait]
impl Admits for Gate {
    async fn admit(&self, call: JoinCall) -> Result<JoinAnswer, Status> {
        let inner = self.members.get().and_then(Weak::upgrade);
        let Some(inner) = inner else {
            return Err(Status::unavailable(
                "it is not ready yet; try again in a moment",
            ));
        };
        let members = Members { inner };
        let member = Member {
            node: 0,
            name: call.name,
            address: call.address,
            version: call.version,
            format: call.format.max(1),
            standing: Standing::Joining,
            replaces: None,
            join_by_ms: None,
            removed_ms: None,
        };
        let name = member.name.clone();
        let joined = members.admit(&call.secret, member).await;
        let joined = joined.map_err(|error| match error {
            MembersError::Refused(reason) => Status::permission_denied(reason),
            other => Status::unavailable(other.to_string()),
        })?;
        tracing::info!(node = joined.node, name, "a node was admitted");
        Ok(JoinAnswer {
            node: joined.node,
            authority_key: joined.authority.key(),
            authority: joined.authority.certificate().to_owned(),
            key: joined.certificates.key().to_owned(),
            certificate: joined.certificates.certificate().to_owned(),
            sealing_key: joined.sealing_key.into(),
        })
    }
}
