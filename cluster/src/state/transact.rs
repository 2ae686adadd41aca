//! Conditions, row changes and sends that take effect atomically. With a receipt the command also ends that message.

use panther_proto::v1::{Code, Done, Transact, reply, send};

use super::limits::stop;
use super::queues::send::Source;
use super::{Stop, Tx, queues, requests, tables, topics};

pub(super) fn run(tx: &mut Tx<'_>, transact: &Transact) -> Result<reply::Kind, Stop> {
    if !transact.request_id.is_empty()
        && let Some(answer) =
            requests::remembered(tx, &transact.request_id, transact.request_time_ms)?
    {
        return Ok(answer);
    }
    tx.caused_by(&transact.trace_id, transact.span_id);
    if let Some(receipt) = &transact.done {
        queues::finish::done(tx, receipt)?;
    }
    tables::change_all(tx, &transact.changes)?;
    let source = if transact.done.is_some() {
        Source::Handler
    } else {
        Source::Door
    };
    let mut message_ids = Vec::with_capacity(transact.sends.len());
    for send in &transact.sends {
        message_ids.push(match &send.to {
            Some(send::To::Queue(queue)) => queues::send::run(tx, queue, send, source)?,
            Some(send::To::Topic(topic)) => topics::publish(tx, topic, send, source)?,
            None => {
                return Err(stop(
                    Code::Invalid,
                    "a send names neither a queue nor a topic",
                ));
            }
        });
    }
    let kind = reply::Kind::Done(Done {
        message_ids,
        kept: Vec::new(),
    });
    if !transact.request_id.is_empty() {
        requests::remember(tx, &transact.request_id, transact.request_time_ms, &kind);
    }
    Ok(kind)
}
