//! Size limits of one command. The door checks them first, and apply checks them again.

use panther_proto::v1::{Code, Command, Refused, RowChange, Send, command};
use prost::Message as _;

use super::Stop;

/// Maximum bytes of one encoded command.
pub const COMMAND_BYTES: usize = 1 << 20;
/// Maximum number of rows and messages that one command may touch.
pub const COMMAND_ITEMS: usize = 1_000;
/// Maximum bytes of a message's body and attributes (as in the original's queues).
pub const MESSAGE_BYTES: usize = 256 << 10;
/// Maximum bytes of a row (as in the original's tables).
pub const ROW_BYTES: usize = 400 << 10;
/// Maximum bytes of each part of a row's key, and of each id and key of a message.
pub const KEY_BYTES: usize = 2 << 10;
/// Maximum bytes of the name of a table, queue, topic or attribute, and of a tenant.
pub const NAME_BYTES: usize = 255;
/// How long the reply to an external request is remembered, and how old such a request may be, in ms.
pub const REQUEST_MS: u64 = 10 * 60 * 1000;
/// Maximum number of messages of one receive.
pub const RECEIVE_MAX: u32 = 100;
/// Longest visibility timeout, in ms: 12 hours, as in the original.
pub const VISIBILITY_MS: u64 = 12 * 3600 * 1000;
/// Longest delay of a message, in ms: 15 minutes, as in the original.
pub const DELAY_MS: u64 = 15 * 60 * 1000;

/// Builds a refusal.
#[must_use]
pub fn refused(code: Code, reason: impl Into<String>) -> Refused {
    Refused {
        code: code as i32,
        reason: reason.into(),
    }
}

/// Checks a command's sizes without reading state. The door calls this before it proposes the command.
///
/// # Errors
/// The refusal that apply would give.
pub fn check(command: &Command) -> Result<(), Refused> {
    let bytes = command.encoded_len();
    if bytes > COMMAND_BYTES {
        return Err(refused(
            Code::TooLarge,
            format!("the command has {bytes} bytes; at most {COMMAND_BYTES} are allowed: split it"),
        ));
    }
    let (changes, sends): (&[RowChange], &[Send]) = match &command.kind {
        Some(command::Kind::Transact(transact)) => (&transact.changes, &transact.sends),
        Some(command::Kind::GiveBack(give_back)) => (&give_back.changes, &[]),
        _ => (&[], &[]),
    };
    let items = changes.len() + sends.len();
    if items > COMMAND_ITEMS {
        return Err(refused(
            Code::TooLarge,
            format!(
                "the command touches {items} items; at most {COMMAND_ITEMS} are allowed: go in steps"
            ),
        ));
    }
    if let Some(command::Kind::Transact(transact)) = &command.kind
        && transact.trace_id.len() > KEY_BYTES
    {
        return Err(refused(
            Code::TooLarge,
            format!("a command's trace id is longer than {KEY_BYTES} bytes"),
        ));
    }
    sends.iter().try_for_each(check_send)?;
    changes.iter().try_for_each(check_change)
}

fn check_send(send: &Send) -> Result<(), Refused> {
    let bytes = send.body.len()
        + send
            .attributes
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
    if bytes > MESSAGE_BYTES {
        return Err(refused(
            Code::TooLarge,
            format!(
                "a message has {bytes} bytes; at most {MESSAGE_BYTES} are allowed: put its content into the object store and send its name"
            ),
        ));
    }
    for name in [
        &send.dedup_id,
        &send.coalesce_key,
        &send.turn,
        &send.group,
        &send.trace_id,
    ] {
        if name.len() > KEY_BYTES {
            return Err(refused(
                Code::TooLarge,
                format!(
                    "a message's deduplication id, key, turn, group or trace id is longer than {KEY_BYTES} bytes"
                ),
            ));
        }
    }
    if send.delay_ms > DELAY_MS {
        return Err(refused(
            Code::Invalid,
            format!(
                "a delay of {} ms is longer than {DELAY_MS} ms",
                send.delay_ms
            ),
        ));
    }
    Ok(())
}

fn check_change(change: &RowChange) -> Result<(), Refused> {
    let Some(key) = &change.key else {
        return Err(refused(
            Code::Invalid,
            format!("a change of table {} names no key", change.table),
        ));
    };
    if key.hash.is_empty() {
        return Err(refused(
            Code::Invalid,
            format!("a change of table {} has an empty hash key", change.table),
        ));
    }
    if key.tenant.len() > NAME_BYTES || key.hash.len() > KEY_BYTES || key.range.len() > KEY_BYTES {
        return Err(refused(
            Code::TooLarge,
            format!(
                "a key of table {} is longer than {KEY_BYTES} bytes",
                change.table
            ),
        ));
    }
    if change.delete && (!change.updates.is_empty() || change.replace) {
        return Err(refused(
            Code::Invalid,
            format!(
                "a change of table {} both deletes and updates a row",
                change.table
            ),
        ));
    }
    if change
        .updates
        .iter()
        .any(|update| update.attribute.is_empty() || update.attribute.len() > NAME_BYTES)
    {
        return Err(refused(
            Code::Invalid,
            format!(
                "an update of table {} names no attribute, or one longer than {NAME_BYTES} bytes",
                change.table
            ),
        ));
    }
    Ok(())
}

/// As [`refused`], as a [`Stop`] for use in apply.
pub(super) fn stop(code: Code, reason: impl Into<String>) -> Stop {
    Stop::Refused(refused(code, reason))
}
