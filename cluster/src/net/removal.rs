//! The answer to calls of a removed node. It lets the node distinguish its removal from a temporary refusal.

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// Header of a permanent refusal: time of the removal in milliseconds since 1970; 0 if unknown.
const HEADER: &str = "panther-removed-at-ms";

/// A node's removal from its cluster, as reported by another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The node that reports the removal. Its certificate was verified.
    pub said_by: u64,
    /// Time of the removal in cluster time, in milliseconds since 1970; `None` if unknown.
    pub at_ms: Option<u64>,
}

/// The refusal of every call of a removed node.
pub(super) fn refusal(node: u64, cluster: &str, at_ms: Option<u64>) -> Status {
    let mut headers = MetadataMap::new();
    headers.insert(HEADER, at_ms.unwrap_or(0).into());
    Status::with_metadata(
        Code::PermissionDenied,
        format!("node {node} was removed from cluster {cluster}; its number is not used again"),
        headers,
    )
}

/// The removal that a status reports; `None` if the status is not a permanent refusal.
pub(super) fn of(said_by: u64, status: &Status) -> Option<Removal> {
    let at = status.metadata().get(HEADER)?.to_str().ok()?.parse().ok()?;
    Some(Removal {
        said_by,
        at_ms: (at > 0).then_some(at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_for_good_is_a_removal() {
        let gone = refusal(3, "c", Some(7));
        let said = of(1, &gone).unwrap();
        assert_eq!((said.said_by, said.at_ms), (1, Some(7)));
        assert_eq!(of(1, &refusal(3, "c", None)).unwrap().at_ms, None);
        assert_eq!(of(1, &Status::permission_denied("not now")), None);
    }
}
