//! A session is one run of one node. When it ends, its messages are released as suspects and its receipts become stale.

use panther_proto::v1::{Code, EndSession, Moved, OpenSession, StoredSession, reply};

use super::keys::{self, KeyReader};
use super::limits::stop;
use super::{Stop, Tx, queues};

/// Maximum number of messages that one step releases.
const STEP: usize = 500;

/// The session; refused if it has ended.
pub(super) fn require(tx: &Tx<'_>, session: u64) -> Result<StoredSession, Stop> {
    tx.read(&keys::session(session))?.ok_or_else(|| {
        stop(
            Code::StaleSession,
            format!("session {session:016x} has ended: what it held was given back"),
        )
    })
}

/// Opens a node's session and ends the node's old one at once. `finished` is false in the reply while the old session
/// still holds messages: the caller must repeat the command until it is true.
pub(super) fn open(tx: &mut Tx<'_>, open: &OpenSession) -> Result<reply::Kind, Stop> {
    if open.session == 0 {
        return Err(stop(Code::Invalid, "a session needs a number other than 0"));
    }
    let mut count = 0;
    let old = in_force(tx, open.node)?;
    if old == Some(open.session) {
        return Ok(moved(0, true));
    }
    if let Some(other) = tx.read::<StoredSession>(&keys::session(open.session))? {
        return Err(stop(
            Code::Invalid,
            format!(
                "session {:016x} is one of node {}: each run needs a number of its own",
                open.session, other.node
            ),
        ));
    }
    if let Some(old) = old {
        let (given_back, finished) = finish(tx, old)?;
        count = given_back;
        if !finished {
            return Ok(moved(count, false));
        }
    }
    let stored = StoredSession {
        session: open.session,
        opened_ms: tx.now(),
        node: open.node,
        ..StoredSession::default()
    };
    tx.write(keys::session(open.session), &stored);
    tx.put(
        keys::session_of(open.node),
        open.session.to_be_bytes().to_vec().into(),
    );
    Ok(moved(count, true))
}

fn moved(count: u32, finished: bool) -> reply::Kind {
    reply::Kind::Moved(Moved {
        count,
        finished,
        last: 0,
    })
}

/// Ends a session whose node fell silent or has drained. Repeated like [`open`]; no effect if the session is not in
/// force.
pub(super) fn end(tx: &mut Tx<'_>, end: &EndSession) -> Result<reply::Kind, Stop> {
    if in_force(tx, end.node)? != Some(end.session) {
        return Ok(moved(0, true));
    }
    let (count, finished) = finish(tx, end.session)?;
    if finished {
        tx.remove(keys::session_of(end.node));
    }
    Ok(moved(count, finished))
}

/// Removes a message from those that a session holds.
pub(super) fn let_go(tx: &mut Tx<'_>, session: u64, queue: &str, seq: u64) -> Result<(), Stop> {
    tx.remove(keys::held(session, queue, seq));
    let Some(mut stored) = tx.read::<StoredSession>(&keys::session(session))? else {
        return Ok(());
    };
    stored.holds = stored.holds.saturating_sub(1);
    if stored.holds == 0 {
        stored.alone = false;
        // Receivers that waited while a suspect ran, or while the session emptied itself for one, may try again.
        let waiting: Vec<&String> = tx.queue_names().filter(|name| tx.waits(name)).collect();
        for name in waiting {
            tx.wake(name);
        }
    }
    tx.write(keys::session(session), &stored);
    Ok(())
}

fn in_force(tx: &Tx<'_>, node: u64) -> Result<Option<u64>, Stop> {
    Ok(tx.get(&keys::session_of(node))?.and_then(|bytes| {
        bytes
            .first_chunk::<8>()
            .map(|bytes| u64::from_be_bytes(*bytes))
    }))
}

fn finish(tx: &mut Tx<'_>, session: u64) -> Result<(u32, bool), Stop> {
    let prefix = keys::KeyBuilder::new(keys::kind::HELD)
        .number(session)
        .done();
    let held = tx.scan_prefix(&prefix, STEP)?;
    let stored: StoredSession = tx.read(&keys::session(session))?.unwrap_or_default();
    let alone = stored.holds == 1;
    for (key, _) in &held {
        let mut reader = KeyReader::new(key);
        if let (Some(_), Some(queue), Some(seq)) = (reader.number(), reader.text(), reader.number())
        {
            queues::finish::orphan(tx, &queue, seq, alone)?;
        }
        tx.remove(key.to_vec());
    }
    let finished = held.len() < STEP;
    if finished {
        tx.remove(keys::session(session));
    }
    Ok((u32::try_from(held.len()).unwrap_or(u32::MAX), finished))
}
