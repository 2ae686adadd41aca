//! `pantherd join`: makes this machine a node of a cluster that has invited it. What it is given is kept in the data folder; the daemon, started
//! then, follows the cluster's log and works.

use panther_cluster::membership::{Invitation, Joined, join};
use panther_cluster::objects::proof;
use tokio::runtime::Builder;

use crate::config::Configuration;
use crate::data_dir::{DataDir, SealingKey};
use crate::keys::Keys;
use crate::{Failure, daemon};

/// Shows the invitation, keeps the answer; what to say to the operator.
///
/// # Errors
/// The folder is in use already, the token is none, or the cluster does not take this machine in.
pub(crate) fn run(configuration: &Configuration, token: &str) -> Result<String, Failure> {
    // Refused only where a provider is in place already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let invitation =
        Invitation::read(token).map_err(|error| Failure::Configuration(error.to_string()))?;
    if configuration.cluster.listen.is_none() {
        return Err(Failure::Configuration(
            "cluster.listen is not set, so the other nodes could not reach this one: set it to an address and port of this machine, such as \"10.0.0.2:8687\", and join then"
                .to_owned(),
        ));
    }
    DataDir::unused(configuration)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no runtime: {error}")))?;
    // Before the invitation is used up.
    runtime.block_on(async {
        let objects = daemon::objects(&configuration.objects).await?;
        proof::is_marked(&objects, &invitation.cluster)
            .await
            .map_err(|error| Failure::Configuration(error.to_string()))
    })?;
    let joined = runtime.block_on(join(
        &invitation,
        &configuration.node.name,
        &configuration.cluster.advertise,
        env!("CARGO_PKG_VERSION"),
    ));
    let Joined {
        node,
        certificates,
        authority,
        sealing_key,
    } = joined.map_err(|error| Failure::Failed(error.to_string()))?;
    let keys = Keys {
        authority,
        certificates,
    };
    DataDir::take_place(
        configuration,
        &invitation.cluster,
        node,
        None,
        &SealingKey {
            bytes: sealing_key,
            is_new: false,
        },
        &keys,
    )?;
    Ok(format!(
        "this machine is node {node} of cluster {} now; start pantherd, and it is given the cluster's data\n",
        invitation.cluster
    ))
}
