//! An event as a tree in an arena: strings are slices of the event's own bytes, containers are slices of the arena.

mod read;

use std::cell::{Cell, RefCell};

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
pub(crate) use read::{read, read_value};

/// A value of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node<'e> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A number that neither 64 bits nor a finite double hold.
    Big,
    Text(&'e str),
    List(&'e [Node<'e>]),
    Map(&'e Map<'e>),
}

/// A mapping of an event, in its order.
///
/// Whoever looks at it is seen: while [`Reads`] are kept, each look-up is noted, and that somebody went through it as a whole.
#[derive(Debug)]
pub(crate) struct Map<'e> {
    members: &'e [(&'e str, Node<'e>)],
    /// Whether some key is not ASCII, whose lower case only Python knows.
    odd_keys: bool,
    reads: &'e Reads<'e>,
}

/// What is looked up in an event, if that is asked for.
#[derive(Debug)]
pub(crate) struct Reads<'e> {
    kept: Cell<bool>,
    whole: Cell<bool>,
    seen: RefCell<ArenaVec<'e, Read<'e>>>,
}

/// A look-up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'e> {
    /// The mapping in which.
    pub(crate) of: *const Map<'e>,
    pub(crate) key: &'e str,
    /// What is there.
    pub(crate) found: Option<Node<'e>>,
}

impl<'e> Reads<'e> {
    pub(crate) fn new(arena: &'e Bump) -> Self {
        Self {
            kept: Cell::new(false),
            whole: Cell::new(false),
            seen: RefCell::new(ArenaVec::new_in(arena)),
        }
    }

    /// Whether look-ups are being noted.
    pub(crate) fn are_kept(&self) -> bool {
        self.kept.get()
    }

    /// Begins to note look-ups, forgetting those before.
    pub(crate) fn keep(&self) {
        self.kept.set(true);
        self.whole.set(false);
        self.seen.borrow_mut().clear();
    }

    /// Ends it. Hands the look-ups to `look`, unless some mapping was gone through as a whole.
    pub(crate) fn end<T>(&self, look: impl FnOnce(&[Read<'e>]) -> T) -> Option<T> {
        self.kept.set(false);
        (!self.whole.get()).then(|| look(&self.seen.borrow()))
    }

    fn note(&self, of: *const Map<'e>, key: &'e str, found: Option<Node<'e>>) {
        if self.kept.get() {
            self.seen.borrow_mut().push(Read { of, key, found });
        }
    }
}

/// What is under a key: all that look-ups can tell, those with regard to case and those without.
pub(crate) enum Peeked<'e> {
    /// Both find this.
    Exact(Node<'e>),
    /// It is spelt otherwise: only a look-up without regard to case finds this.
    Spelt(Node<'e>),
    Absent,
    /// A look-up with regard to case finds nothing; of the other only Python can tell.
    Unknown,
}

/// What a look-up without regard to case gave.
pub(crate) enum Found<'e> {
    Yes(Node<'e>),
    No,
    /// Only Python can tell.
    Unknown,
}

impl<'e> Map<'e> {
    pub(crate) fn new(
        members: &'e [(&'e str, Node<'e>)],
        odd_keys: bool,
        reads: &'e Reads<'e>,
    ) -> Self {
        Self {
            members,
            odd_keys,
            reads,
        }
    }

    /// Keys and values.
    pub(crate) fn members(&self) -> &'e [(&'e str, Node<'e>)] {
        self.reads.whole.set(true);
        self.members
    }

    /// Whether it has no keys. That is not noted: a look-up that found this mapping tells it.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The look-ups in the whole event.
    pub(crate) fn reads(&self) -> &'e Reads<'e> {
        self.reads
    }

    /// What is under this key, without being noted.
    pub(crate) fn peek(&self, key: &str) -> Peeked<'e> {
        let mut spelt = None;
        for (name, node) in self.members {
            if name.len() == key.len() {
                if *name == key {
                    return Peeked::Exact(*node);
                }
                if spelt.is_none() && name.eq_ignore_ascii_case(key) {
                    spelt = Some(*node);
                }
            }
        }
        match spelt {
            _ if self.odd_keys || !key.is_ascii() => Peeked::Unknown,
            Some(node) => Peeked::Spelt(node),
            None => Peeked::Absent,
        }
    }

    /// The value under exactly this key.
    pub(crate) fn exact(&self, key: &'e str) -> Option<Node<'e>> {
        let found = self
            .members
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, node)| *node);
        self.reads.note(self, key, found);
        found
    }

    /// The value under this key; failing that, the first under another spelling of its letters' case.
    pub(crate) fn find(&self, key: &'e str) -> Found<'e> {
        let found = match self.peek(key) {
            Peeked::Exact(node) | Peeked::Spelt(node) => Some(node),
            Peeked::Absent => None,
            Peeked::Unknown => {
                self.reads.whole.set(true);
                return Found::Unknown;
            }
        };
        self.reads.note(self, key, found);
        found.map_or(Found::No, Found::Yes)
    }
}
