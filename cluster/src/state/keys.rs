//! Layout of the state in one ordered key space.
//!
//! A key is a kind byte followed by parts. Text parts are escaped and terminated, so that byte order equals the order
//! of the parts; numbers are big-endian. Kinds are single letters, so that a dump of the store is readable.

use panther_proto::v1::{Key, Value, value};

/// A key of the store.
pub type KeyBytes = Vec<u8>;

/// Kinds of keys, one byte each.
pub mod kind {
    /// A declared table, queue or topic.
    pub const DECLARED: u8 = b'D';
    /// Counters of a queue.
    pub const COUNTS: u8 = b'C';
    /// The mutable part of a message.
    pub const HEAD: u8 = b'H';
    /// The immutable part of a message: its body, attributes and ids.
    pub const BODY: u8 = b'B';
    /// Messages that may be received now, by fairness key (`turn`) and order of arrival.
    pub const READY: u8 = b'R';
    /// Suspects that may be received now.
    pub const SUSPECT: u8 = b'S';
    /// Messages of a message group, in order of arrival.
    pub const GROUP: u8 = b'G';
    /// The newest message of a coalescing key.
    pub const COALESCE: u8 = b'K';
    /// Deduplication ids of a queue.
    pub const DEDUP: u8 = b'U';
    /// Timers, by the time at which they are due.
    pub const DUE: u8 = b'E';
    /// Sessions, and the session in force of each node.
    pub const SESSION: u8 = b'N';
    /// Messages that a session holds.
    pub const HELD: u8 = b'O';
    /// Rows.
    pub const ROW: u8 = b'T';
    /// Index items.
    pub const INDEX: u8 = b'I';
    /// Remembered replies to requests.
    pub const REQUEST: u8 = b'Q';
    /// Global state: clock, format, counters.
    pub const GLOBALS: u8 = b'M';
}

/// Builds a key part by part.
#[derive(Debug, Clone)]
pub struct KeyBuilder(KeyBytes);

impl KeyBuilder {
    /// A key of the given kind.
    #[must_use]
    pub fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// Adds a text part.
    #[must_use]
    pub fn text(mut self, part: &str) -> Self {
        push_bytes(&mut self.0, part.as_bytes());
        self
    }

    /// Adds an unsigned number.
    #[must_use]
    pub fn number(mut self, part: u64) -> Self {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    /// Adds one raw byte.
    #[must_use]
    pub fn byte(mut self, part: u8) -> Self {
        self.0.push(part);
        self
    }

    /// Adds the three parts of a row's key.
    #[must_use]
    pub fn row_key(self, key: &Key) -> Self {
        self.text(&key.tenant).text(&key.hash).text(&key.range)
    }

    /// Adds an indexable value. Returns false and adds nothing if values of this kind do not compare.
    pub fn value(&mut self, value: &Value) -> bool {
        match &value.kind {
            Some(value::Kind::Int(int)) => {
                self.0.push(1);
                // Flipping the sign bit makes byte order the order of signed numbers.
                self.0
                    .extend_from_slice(&((*int as u64) ^ (1 << 63)).to_be_bytes());
                true
            }
            Some(value::Kind::Text(text)) => {
                self.0.push(2);
                push_bytes(&mut self.0, text.as_bytes());
                true
            }
            Some(value::Kind::Blob(blob)) => {
                self.0.push(3);
                push_bytes(&mut self.0, blob);
                true
            }
            _ => false,
        }
    }

    /// The finished key.
    #[must_use]
    pub fn done(self) -> KeyBytes {
        self.0
    }
}

fn push_bytes(out: &mut KeyBytes, bytes: &[u8]) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// Reads a key part by part.
#[derive(Debug)]
pub struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// Starts after the kind byte.
    #[must_use]
    pub fn new(key: &'a [u8]) -> Self {
        Self(key.get(1..).unwrap_or_default())
    }

    /// The next part as text; `None` if the rest of the key does not start with a text part.
    pub fn text(&mut self) -> Option<String> {
        let mut out = Vec::new();
        let mut at = 0;
        while at + 1 < self.0.len() {
            match (self.0[at], self.0[at + 1]) {
                (0, 1) => {
                    self.0 = &self.0[at + 2..];
                    return String::from_utf8(out).ok();
                }
                (0, 0xFF) => {
                    out.push(0);
                    at += 2;
                }
                (byte, _) => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        None
    }

    /// The next part as a number.
    pub fn number(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*head))
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&head, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(head)
    }

    /// The next part as a row's key.
    pub fn row_key(&mut self) -> Option<Key> {
        Some(Key {
            tenant: self.text()?,
            hash: self.text()?,
            range: self.text()?,
        })
    }

    /// Skips an indexed value.
    pub fn skip_value(&mut self) -> Option<()> {
        match self.byte()? {
            1 => self.number().map(drop),
            2 => self.text().map(drop),
            3 => {
                let end = self.0.windows(2).position(|pair| pair == [0, 1])?;
                self.0 = &self.0[end + 2..];
                Some(())
            }
            _ => None,
        }
    }
}

/// The end, exclusive, of the range of all keys that start with `prefix`.
#[must_use]
pub fn after(prefix: &[u8]) -> KeyBytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return end;
        }
    }
    vec![0xFF; 9]
}

/// Key of a message's head.
#[must_use]
pub fn head(queue: &str, seq: u64) -> KeyBytes {
    KeyBuilder::new(kind::HEAD).text(queue).number(seq).done()
}

/// Key of a message's body.
#[must_use]
pub fn body(queue: &str, seq: u64) -> KeyBytes {
    KeyBuilder::new(kind::BODY).text(queue).number(seq).done()
}

/// Key of a message that may be received now.
#[must_use]
pub fn ready(queue: &str, turn: &str, seq: u64) -> KeyBytes {
    KeyBuilder::new(kind::READY)
        .text(queue)
        .text(turn)
        .number(seq)
        .done()
}

/// Key of a suspect that may be received now.
#[must_use]
pub fn suspect(queue: &str, seq: u64) -> KeyBytes {
    KeyBuilder::new(kind::SUSPECT)
        .text(queue)
        .number(seq)
        .done()
}

/// Key of a message in the order of its group.
#[must_use]
pub fn group(queue: &str, group: &str, seq: u64) -> KeyBytes {
    KeyBuilder::new(kind::GROUP)
        .text(queue)
        .text(group)
        .number(seq)
        .done()
}

/// Key under which the newest message of a coalescing key is found.
#[must_use]
pub fn coalesce(queue: &str, key: &str) -> KeyBytes {
    KeyBuilder::new(kind::COALESCE).text(queue).text(key).done()
}

/// Key of a deduplication id.
#[must_use]
pub fn dedup(queue: &str, id: &str) -> KeyBytes {
    KeyBuilder::new(kind::DEDUP).text(queue).text(id).done()
}

/// Key of a queue's counters.
#[must_use]
pub fn counts(queue: &str) -> KeyBytes {
    KeyBuilder::new(kind::COUNTS).text(queue).done()
}

/// Key of a session.
#[must_use]
pub fn session(session: u64) -> KeyBytes {
    KeyBuilder::new(kind::SESSION)
        .byte(b's')
        .number(session)
        .done()
}

/// Key of a node's session in force.
#[must_use]
pub fn session_of(node: u64) -> KeyBytes {
    KeyBuilder::new(kind::SESSION)
        .byte(b'n')
        .number(node)
        .done()
}

/// Common prefix of the keys of each node's session in force.
#[must_use]
pub fn sessions_of_nodes() -> KeyBytes {
    KeyBuilder::new(kind::SESSION).byte(b'n').done()
}

/// Common prefix of the keys of all messages of one queue that a session holds.
#[must_use]
pub fn held_of_queue(session: u64, queue: &str) -> KeyBytes {
    KeyBuilder::new(kind::HELD)
        .number(session)
        .text(queue)
        .done()
}

/// Key of one message that a session holds. The value is the attempt number of its receive.
#[must_use]
pub fn held(session: u64, queue: &str, seq: u64) -> KeyBytes {
    KeyBuilder::new(kind::HELD)
        .number(session)
        .text(queue)
        .number(seq)
        .done()
}

/// Key of a row.
#[must_use]
pub fn row(table: &str, key: &Key) -> KeyBytes {
    KeyBuilder::new(kind::ROW).text(table).row_key(key).done()
}

/// Key of a remembered reply.
#[must_use]
pub fn request(id: &str) -> KeyBytes {
    KeyBuilder::new(kind::REQUEST).text(id).done()
}

/// Key of the global state.
#[must_use]
pub fn globals() -> KeyBytes {
    vec![kind::GLOBALS]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn byte_order_is_the_order_of_the_parts(a in ".{0,6}", b in ".{0,6}", m in any::<u64>(), n in any::<u64>()) {
            let left = KeyBuilder::new(b'x').text(&a).number(m).done();
            let right = KeyBuilder::new(b'x').text(&b).number(n).done();
            prop_assert_eq!(left.cmp(&right), (a.as_bytes(), m).cmp(&(b.as_bytes(), n)));
        }

        #[test]
        fn parts_read_back(a in "[\\x00-\\x02a]{0,6}", b in ".{0,6}", n in any::<u64>()) {
            let key = KeyBuilder::new(b'x').text(&a).number(n).text(&b).done();
            let mut reader = KeyReader::new(&key);
            prop_assert_eq!(reader.text(), Some(a));
            prop_assert_eq!(reader.number(), Some(n));
            prop_assert_eq!(reader.text(), Some(b));
        }

        #[test]
        fn signed_numbers_keep_their_order(a in any::<i64>(), b in any::<i64>()) {
            let of = |int: i64| {
                let mut key = KeyBuilder::new(b'x');
                key.value(&Value { kind: Some(value::Kind::Int(int)) });
                key.done()
            };
            prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
        }

        #[test]
        fn after_a_prefix_comes_nothing_that_starts_with_it(prefix in prop::collection::vec(any::<u8>(), 1..4), rest in prop::collection::vec(any::<u8>(), 0..4)) {
            prop_assume!(prefix.iter().any(|&byte| byte != 0xFF));
            let mut key = prefix.clone();
            key.extend(rest);
            prop_assert!(key < after(&prefix));
        }
    }
}
