//! Records inside another record: an envelope that was read completely.

use std::{collections::VecDeque, io::Read, ops::Range};

use super::Splitter;
use crate::{
    object::{
        Record,
        envelope::{self, Content},
    },
    parser::Filter,
};

/// An envelope whose records are being returned.
pub(super) struct Opened {
    text: Vec<u8>,
    offset: u64,
    ranges: VecDeque<Range<usize>>,
    /// The ranges are log events; the record is the message of each one.
    messages: bool,
}

impl<R: Read> Splitter<R> {
    /// Returns the record, or `None` if it is an envelope, whose records then follow.
    pub(super) fn unless_opened(&mut self, mut record: Record) -> Option<Record> {
        if record.defect.is_some() || record.filter.is_some() || !record.raw.starts_with(b"{") {
            return Some(record);
        }
        let (ranges, messages) = match envelope::open(&record.raw) {
            None => return Some(record),
            Some(Content::Control | Content::Nothing) => {
                record.filter = Some(Filter::Envelope);
                return Some(record);
            }
            Some(Content::Records(ranges)) => (ranges, false),
            Some(Content::Messages(ranges)) => (ranges, true),
        };
        if ranges.is_empty() {
            record.filter = Some(Filter::Envelope);
            return Some(record);
        }
        self.number -= 1;
        self.given -= record.length;
        self.opened = Some(Opened {
            text: record.raw,
            offset: record.offset,
            ranges,
            messages,
        });
        None
    }

    pub(super) fn next_opened(&mut self) -> Option<Record> {
        let opened = self.opened.as_mut()?;
        let Some(range) = opened.ranges.pop_front() else {
            self.opened = None;
            return None;
        };
        let text = opened.text.get(range.clone()).unwrap_or_default();
        let message = if opened.messages {
            envelope::message(text)
        } else {
            None
        };
        let offset = opened.offset + range.start as u64;
        let raw = message.unwrap_or_else(|| text.to_vec());
        Some(self.record(offset, range.len() as u64, raw, None))
    }
}
