//! JSON writer: writes nodes as compact JSON, with selected values replaced.

use super::{Document, Node};
use crate::time::Timestamp;

/// A value to be rewritten: the timestamp that replaces the node at `at`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rewrite {
    pub(crate) at: usize,
    pub(crate) time: Timestamp,
}

impl Document<'_, '_> {
    /// Appends the value at `at`, without spaces. `rewrites` must be sorted by node index.
    pub(crate) fn write(&self, at: usize, rewrites: &[Rewrite], out: &mut String) {
        let end = self.after(at);
        let mut rewrites = rewrites
            .iter()
            .filter(|rewrite| rewrite.at >= at)
            .peekable();
        // the open containers: end index and closing bracket
        let mut open: Vec<(usize, char)> = Vec::with_capacity(16);
        let mut separate = false;
        let mut next = at;
        while next < end {
            while let Some(&(_, bracket)) = open.last().filter(|(end, _)| *end == next) {
                out.push(bracket);
                open.pop();
                separate = true;
            }
            if separate {
                out.push(',');
            }
            separate = true;
            if rewrites.peek().is_some_and(|rewrite| rewrite.at == next) {
                if let Some(rewrite) = rewrites.next() {
                    out.push('"');
                    rewrite.time.write(out);
                    out.push('"');
                }
                next += 1;
                continue;
            }
            match self.node(next) {
                Node::Null => out.push_str("null"),
                Node::Bool(true) => out.push_str("true"),
                Node::Bool(false) => out.push_str("false"),
                Node::Number(text) => out.push_str(text),
                Node::String(string) => {
                    out.push('"');
                    string.write(out);
                    out.push('"');
                }
                Node::Key(key) => {
                    out.push('"');
                    key.write(out);
                    out.push_str("\":");
                    separate = false;
                }
                Node::Array { end } => {
                    out.push('[');
                    open.push((end as usize, ']'));
                    separate = false;
                }
                Node::Object { end } => {
                    out.push('{');
                    open.push((end as usize, '}'));
                    separate = false;
                }
            }
            next += 1;
        }
        while let Some((_, bracket)) = open.pop() {
            out.push(bracket);
        }
    }
}
