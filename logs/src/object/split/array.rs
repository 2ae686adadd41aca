//! Arrays of records: their elements, their end, and the rest of the object around them.

use std::io::Read;

use super::{Place, Splitter, Step};
use crate::{
    object::{
        Defect, Record, envelope,
        scan::{Found, Scan},
        window::CHUNK,
    },
    parser::Filter,
};

impl<R: Read> Splitter<R> {
    /// Reads the next element, or the end of the array.
    pub(super) fn element(&mut self, wrapped: bool, free: bool) -> Step {
        let mut free = free;
        // true if the current line begins here, in the first column
        let mut bare = false;
        let mut at = 0;
        loop {
            let Some(&byte) = self.window.rest().get(at) else {
                if self.window.fill() {
                    continue;
                }
                self.window.advance(at);
                self.cut = true;
                return Step::Record(self.unclosed());
            };
            match byte {
                b'\n' => {
                    self.window.advance(at + 1);
                    at = 0;
                    bare = true;
                    continue;
                }
                b' ' | b'\t' | b'\r' => {
                    bare &= at > 0;
                    at += 1;
                }
                b',' => {
                    free = true;
                    at += 1;
                }
                b']' => {
                    self.window.advance(at + 1);
                    if wrapped {
                        self.place = Place::Tail;
                    } else {
                        self.after_value();
                    }
                    return Step::On;
                }
                b'{' if bare && !free => return Step::Record(self.unclosed()),
                b'{' => {
                    self.window.advance(at);
                    self.place = Place::Element {
                        wrapped,
                        free: false,
                    };
                    return Step::Record(self.value(false));
                }
                _ if bare && !(free && self.is_element(at)) => {
                    return Step::Record(self.unclosed());
                }
                _ => {
                    self.window.advance(at);
                    self.place = Place::Element {
                        wrapped,
                        free: false,
                    };
                    return Step::Record(self.scalar());
                }
            }
            // consume an endless run of white space and commas in chunks, so that the buffer does not grow
            if at > CHUNK {
                self.window.advance(at);
                at = 0;
                bare = false;
            }
        }
    }

    /// True if the line at `at` is an array element that is not an object, with or without the text after an element: `null,`, `"text"`, `5
    /// ]`. False for a line of another log that follows an unclosed array.
    fn is_element(&mut self, at: usize) -> bool {
        let line = loop {
            let rest = self.window.rest().get(at..).unwrap_or_default();
            let end = rest.iter().position(|&byte| byte == b'\n');
            let is_whole = end.is_some() || rest.len() > self.limits.record_bytes;
            if is_whole || !self.window.fill() {
                let rest = self.window.rest().get(at..).unwrap_or_default();
                break rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            }
        };
        let line = line.trim_ascii();
        let value = line.strip_suffix(b",").or_else(|| {
            let end = line.iter().rposition(|&byte| byte == b']');
            line.get(..end?)
        });
        let is_value = |text: &[u8]| {
            std::str::from_utf8(text).is_ok_and(|text| crate::json::is_value(text.trim()))
        };
        is_value(line) || value.is_some_and(is_value)
    }

    /// Reports an unclosed array: the record is the text that opened it.
    pub(super) fn unclosed(&mut self) -> Record {
        self.place = Place::Line;
        let (offset, raw) = std::mem::take(&mut self.opening);
        let raw = raw.trim_ascii_end().to_vec();
        self.record(offset, raw.len() as u64, raw, Some(Defect::Cut))
    }

    /// Reads an element that is not an object, up to the next comma, bracket or line end.
    fn scalar(&mut self) -> Record {
        let (mut at, mut quoted) = (0, false);
        loop {
            match self.window.rest().get(at).copied() {
                Some(b'\\') if quoted => {
                    // a line end cannot be escaped
                    at += if self.window.rest().get(at + 1) == Some(&b'\n') {
                        1
                    } else {
                        2
                    };
                }
                Some(b'"') => {
                    quoted = !quoted;
                    at += 1;
                }
                Some(b',' | b']') if !quoted => break,
                Some(b'\n') => break,
                Some(_) if at > self.limits.record_bytes => {
                    self.place = Place::Line;
                    return self.line(None, Some(Defect::Cut));
                }
                Some(_) => at += 1,
                None if self.window.fill() => {}
                None => {
                    self.cut = true;
                    break;
                }
            }
        }
        let at = at.min(self.window.rest().len());
        self.take(at, Some(Defect::Stray))
    }

    /// Reads the members of an object after its array, up to the end of the object.
    pub(super) fn tail(&mut self) -> Step {
        let mut scan = Scan::rest_of_object();
        let mut ended = self.window.ended();
        let found = loop {
            let found = scan.run(self.window.rest(), ended);
            if found != Found::Inside
                || ended
                || self.window.rest().len() > self.limits.record_bytes
            {
                break found;
            }
            self.window.fill();
            ended = self.window.ended();
        };
        self.place = Place::Line;
        self.cut = found == Found::Inside && ended;
        let rest = self.window.rest();
        let Found::End(end) = found else {
            let line = rest.split(|byte| *byte == b'\n').next();
            if line.is_none_or(|line| line.trim_ascii().is_empty()) {
                let record = self.unclosed();
                self.leave_line();
                return Step::Record(record);
            }
            if found == Found::Inside && ended && !scan.took_doubtful() && !scan.is_doubtful() {
                let rest = rest.len();
                return Step::Record(self.take(rest, Some(Defect::Cut)));
            }
            self.cut = false;
            return Step::Record(self.line(None, Some(Defect::Cut)));
        };
        let members = rest.get(..end - 1).unwrap_or_default();
        let blank = members.len() - members.trim_ascii_start().len();
        let step = if members.trim_ascii().is_empty() {
            self.window.advance(end - 1);
            Step::On
        } else {
            let simple = scan.is_strict() && envelope::is_simple(members);
            self.window.advance(blank);
            let mut record = self.take(end - 1 - blank, None);
            if simple {
                record.filter = Some(Filter::Envelope);
            } else {
                record.defect = Some(Defect::Stray);
            }
            Step::Record(record)
        };
        self.window.advance(1);
        self.after_value();
        step
    }
}
