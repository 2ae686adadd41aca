//! JSON values that are separate records: multi-line documents, and several values on one line.

use std::io::Read;

use super::{Overlong, Place, Splitter};
use crate::object::{
    Defect, Record, head,
    scan::{Found, Scan},
    window::CHUNK,
};

impl<R: Read> Splitter<R> {
    /// Reads a line that begins with a brace: one record, unless it holds several values.
    pub(super) fn object(&mut self) -> Record {
        let mut looked = 0;
        loop {
            let rest = self.window.rest();
            let end = rest
                .get(looked..)
                .and_then(|rest| memchr::memchr(b'\n', rest))
                .map(|end| looked + end);
            looked = rest.len();
            if let Some(line) = rest.get(..end.unwrap_or(looked))
                && (end.is_some() || self.window.ended())
                && !head::may_be_joined(line)
            {
                return self.line(None, None);
            }
            if end.is_some() || looked > self.limits.record_bytes || !self.window.fill() {
                return self.joined(true);
            }
        }
    }

    /// Reads one of several values on a line. If the `first` value is not JSON, the whole line is plain text.
    pub(super) fn joined(&mut self, first: bool) -> Record {
        let mut scan = Scan::value();
        let mut overlong = None;
        let end = loop {
            let ended = self.window.ended();
            match scan.run(self.window.rest(), ended) {
                Found::End(end) => break end,
                Found::Broken => return self.broken(overlong, &scan),
                Found::Inside if ended => return self.line(overlong, None),
                Found::Inside if first && scan.line_start().is_some() => {
                    return self.line(overlong, None);
                }
                Found::Inside => self.more(&mut scan, &mut overlong),
            }
        };
        if overlong.is_some() || end > self.limits.record_bytes {
            self.pass_over(&mut overlong, end);
            self.after_value();
            if let Some(overlong) = overlong {
                return self.too_long(overlong);
            }
        }
        let mut after = end;
        let next = loop {
            match self.window.rest().get(after).copied() {
                Some(b' ' | b'\t' | b'\r') if after - end < CHUNK => after += 1,
                None if self.window.fill() => {}
                next => break next,
            }
        };
        let apart = !first || (scan.is_strict() && scan.line_start().is_none());
        if apart && matches!(next, None | Some(b'\n' | b'{')) {
            let record = self.take(end, None);
            self.after_value();
            record
        } else {
            self.line(None, None)
        }
    }

    /// Reads more text for a scan. An oversized value is consumed as it is read.
    fn more(&mut self, scan: &mut Scan, overlong: &mut Option<Overlong>) {
        let held = self.window.rest().len();
        if held > self.limits.record_bytes || overlong.is_some() {
            // the last bytes may be an incomplete literal
            let scanned = scan.looked_at().min(held);
            self.pass_over(overlong, scanned);
            scan.forget(scanned);
        }
        self.window.fill();
    }

    /// Handles text that is not a value: the lines before the one that cannot belong to it become one record. If one of those lines might
    /// be a separate record, only the first line becomes the record, and the rest is read as lines.
    fn broken(&mut self, overlong: Option<Overlong>, scan: &Scan) -> Record {
        self.place = Place::Line;
        match (overlong, scan.line_start()) {
            (Some(overlong), Some(line)) => {
                let mut overlong = Some(overlong);
                self.pass_over(&mut overlong, line);
                match overlong {
                    Some(overlong) => self.too_long(overlong),
                    None => self.line(None, Some(Defect::Cut)),
                }
            }
            (None, Some(line)) if line > 0 && !scan.took_doubtful() => {
                self.take(line, Some(Defect::Cut))
            }
            (overlong, _) => self.line(overlong, Some(Defect::Cut)),
        }
    }

    /// Reads one array or object to its end, or as far as it is valid. A `document` is a top-level value that begins in the first column.
    pub(super) fn value(&mut self, document: bool) -> Record {
        let mut scan = Scan::value();
        let mut overlong = None;
        let end = loop {
            let ended = self.window.ended();
            match scan.run(self.window.rest(), ended) {
                Found::End(end) => break end,
                Found::Broken => return self.broken(overlong, &scan),
                Found::Inside if ended => return self.unended(overlong, &scan),
                Found::Inside => self.more(&mut scan, &mut overlong),
            }
        };
        if overlong.is_some() || end > self.limits.record_bytes {
            self.pass_over(&mut overlong, end);
        }
        let record = match overlong {
            Some(overlong) => self.too_long(overlong),
            None => self.take(end, None),
        };
        if document {
            self.after_value();
        }
        record
    }

    /// Handles a value that the end of the object cuts off.
    fn unended(&mut self, mut overlong: Option<Overlong>, scan: &Scan) -> Record {
        self.place = Place::Line;
        self.cut = true;
        let rest = self.window.rest().len();
        if overlong.is_some() {
            self.pass_over(&mut overlong, rest);
        }
        match overlong {
            Some(overlong) => self.too_long(overlong),
            // one of its lines may be a separate record
            None if scan.took_doubtful() || scan.is_doubtful() => {
                self.cut = false;
                self.line(None, Some(Defect::Cut))
            }
            None => self.take(rest, Some(Defect::Cut)),
        }
    }
}
