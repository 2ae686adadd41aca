//! Requests from outside carry an id; the answer is remembered, so that a retry is not a second effect.

use panther_proto::v1::{Code, RememberedReply, Reply, reply};

use super::limits::{REQUEST_MS, stop};
use super::{Stop, Tx, due, keys};

/// The answer that this request got before, if it did.
///
/// A request that is older than an answer is remembered for is refused: it may have run already.
pub(super) fn remembered(tx: &Tx<'_>, id: &str, time_ms: u64) -> Result<Option<reply::Kind>, Stop> {
    let now = tx.now();
    // After time was set back, a stamp of before may lie ahead.
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

/// Remembers an answer until no retry can be accepted any more.
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
