//! What a node that was removed is answered, so that it can tell its removal from a refusal that passes.

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// The header of a refusal that is for good: when the node was removed, in milliseconds since 1970; 0 if that is not known.
const HEADER: &str = "panther-removed-at-ms";

/// That a node is no longer of its cluster, as one of the cluster's nodes says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The node that says so; its certificate was checked.
    pub said_by: u64,
    /// When it was removed, in cluster time; milliseconds since 1970.
    pub at_ms: Option<u64>,
}

/// The refusal of every call of a node that was removed.
pub(super) fn refusal(node: u64, cluster: &str, at_ms: Option<u64>) -> Status {
    let mut headers = MetadataMap::new();
    headers.insert(HEADER, at_ms.unwrap_or(0).into());
    Status::with_metadata(
        Code::PermissionDenied,
        format!("node {node} was removed from cluster {cluster}; its number is not used again"),
        headers,
    )
}

/// Whether a refusal is for good.
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
