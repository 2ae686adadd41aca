//! External requests carry an id. Their reply is remembered, so that a retry is idempotent.

use panther_proto::v1::{Code, RememberedReply, Reply, reply};

use super::limits::{REQUEST_MS, stop};
use super::{Stop, Tx, due, keys};

/// The remembered reply to this request, if it has run before.
///
/// A request older than [`REQUEST_MS`] is refused: its reply may be forgotten, so it may have run already.
pub(super) fn remembered(tx: &Tx<'_>, id: &str, time_ms: u64) -> Result<Option<reply::Kind>, Stop> {
    let now = tx.now();
    // After cluster time was set back, a stamp from before may lie in the future.
    if time_ms > now.saturating_add(REQUEST_MS) && tx.globals().era == 0 {
        return Err(stop(
            Code::Invalid,
            format!(
                "the request says that it was issued at {time_ms}, more than ten minutes after cluster time {now}: set the caller's clock"
            ),
        ));
    }
    if tx.is_past(time_ms.saturating_add(REQUEST_MS)) {
        return Err(stop(
            Code::StaleRequest,
            format!(
                "the request was issued at {time_ms}, more than ten minutes before {now}: it may have run already, so it is not run"
            ),
        ));
    }
    Ok(tx
        .read::<RememberedReply>(&keys::request(id))?
        .and_then(|old| old.reply)
        .and_then(|reply| reply.kind))
}

/// Remembers a reply until every retry of the request would be refused as too old.
pub(super) fn remember(tx: &mut Tx<'_>, id: &str, time_ms: u64, kind: &reply::Kind) {
    let until_ms = time_ms
        .clamp(tx.now(), tx.now().saturating_add(REQUEST_MS))
        .saturating_add(REQUEST_MS)
        .saturating_add(1);
    tx.write(
        keys::request(id),
        &RememberedReply {
            reply: Some(Reply {
                kind: Some(kind.clone()),
            }),
            until_ms,
        },
    );
    tx.put(
        due::key(until_ms, due::Kind::Request).text(id).done(),
        bytes::Bytes::new(),
    );
}

pub(super) fn forget(tx: &mut Tx<'_>, id: &str) {
    tx.remove(keys::request(id));
}
