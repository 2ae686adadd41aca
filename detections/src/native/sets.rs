//! Sets of one event: their elements in the order in which they came, and, once there are many, an index of the texts among them.

use std::cell::{Ref, RefCell};
use std::hash::BuildHasher;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use foldhash::fast::RandomState;

use super::value::{Done, Value};

/// Elements from which on an index finds a text sooner than going through them.
const INDEXED_FROM: usize = 16;

/// What lies at a place of the index.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Half of the text's hash: most texts differ in it, so that they need not be looked at, and it says where the entry belongs.
    hash: u32,
    /// Where in the items it is.
    item: u32,
}

/// Nothing lies there.
const FREE: Entry = Entry {
    hash: 0,
    item: u32::MAX,
};

impl Entry {
    fn is_free(self) -> bool {
        self.item == FREE.item
    }
}

/// A place of the index.
enum Place {
    Free(usize, u32),
    Taken,
}

/// What a set holds, each once.
#[derive(Debug)]
pub(super) struct Elements<'e> {
    items: RefCell<ArenaVec<'e, Value<'e>>>,
    /// Where in `items` each text is, at or behind the place that its hash gives. Its length is a power of two and more than twice
    /// the number of elements, or 0: there is none.
    index: RefCell<ArenaVec<'e, Entry>>,
    /// Drawn for each set: events cannot be made to collide.
    hashes: RandomState,
}

impl<'e> Elements<'e> {
    pub(super) fn new(arena: &'e Bump) -> Self {
        Self {
            items: RefCell::new(ArenaVec::new_in(arena)),
            index: RefCell::new(ArenaVec::new_in(arena)),
            hashes: RandomState::default(),
        }
    }

    pub(super) fn items(&self) -> Ref<'_, ArenaVec<'e, Value<'e>>> {
        self.items.borrow()
    }

    /// How many elements have to be looked at to find one.
    pub(super) fn looks(&self, wanted: &Value<'e>) -> usize {
        match wanted {
            Value::Text(_) if !self.index.borrow().is_empty() => 1,
            _ => self.items.borrow().len(),
        }
    }

    pub(super) fn contains(&self, wanted: &Value<'e>) -> Done<'e, bool> {
        let items = self.items.borrow();
        let index = self.index.borrow();
        match wanted {
            // Only a text equals a text.
            Value::Text(text) if !index.is_empty() => {
                let (at, _) = self.at(&index, &items, text);
                Ok(!index[at].is_free())
            }
            _ => {
                for item in items.iter() {
                    if item.equals(wanted)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Adds what is not in it yet.
    pub(super) fn insert(&self, value: Value<'e>) -> Done<'e, ()> {
        let indexed = match value {
            Value::Text(text) => self.free(text),
            _ => None,
        };
        match indexed {
            Some(Place::Taken) => return Ok(()),
            Some(Place::Free(at, hash)) => {
                let item = self.next();
                self.index.borrow_mut()[at] = Entry { hash, item };
            }
            None if self.contains(&value)? => return Ok(()),
            None => {}
        }
        self.items.borrow_mut().push(value);
        let (elements, room) = (self.items.borrow().len(), self.index.borrow().len());
        if elements * 2 > room && elements >= INDEXED_FROM {
            self.index_all(elements * 4);
        }
        Ok(())
    }

    /// Where the index has a text, or has room for it; `None` if there is no index.
    fn free(&self, text: &str) -> Option<Place> {
        let index = self.index.borrow();
        if index.is_empty() {
            return None;
        }
        let (at, hash) = self.at(&index, &self.items.borrow(), text);
        Some(if index[at].is_free() {
            Place::Free(at, hash)
        } else {
            Place::Taken
        })
    }

    /// The place of the next element.
    fn next(&self) -> u32 {
        // No set of a gigabyte has so many elements.
        u32::try_from(self.items.borrow().len()).unwrap_or(FREE.item)
    }

    /// Takes the only element, or nothing if there is none. So few are not in the index.
    pub(super) fn pop(&self) -> Option<Value<'e>> {
        self.items.borrow_mut().pop()
    }

    fn index_all(&self, room: usize) {
        let items = self.items.borrow();
        let mut index = self.index.borrow_mut();
        let before: Vec<Entry> = index.drain(..).collect();
        index.resize(room.next_power_of_two(), FREE);
        if before.is_empty() {
            for (place, item) in items.iter().enumerate() {
                if let Value::Text(text) = item {
                    let (at, hash) = self.at(&index, &items, text);
                    let item = u32::try_from(place).unwrap_or(FREE.item);
                    index[at] = Entry { hash, item };
                }
            }
        }
        let last = index.len() - 1;
        for entry in before.into_iter().filter(|entry| !entry.is_free()) {
            let mut at = entry.hash as usize & last;
            while !index[at].is_free() {
                at = (at + 1) & last;
            }
            index[at] = entry;
        }
    }

    /// The place of the index in which a text is, or would be, and half of its hash, which is kept there.
    fn at(&self, index: &[Entry], items: &[Value<'e>], text: &str) -> (usize, u32) {
        let last = index.len() - 1;
        #[allow(clippy::cast_possible_truncation)]
        let hash = self.hashes.hash_one(text) as u32;
        let mut at = hash as usize & last;
        while !index[at].is_free() {
            let there = || items.get(index[at].item as usize).and_then(Value::as_text);
            if index[at].hash == hash && there() == Some(text) {
                break;
            }
            at = (at + 1) & last;
        }
        (at, hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_is_there_once_and_found_however_many_there_are() {
        let arena = Bump::new();
        let set = Elements::new(&arena);
        for round in 0..2 {
            for number in 0..1000 {
                let text = Value::Text(arena.alloc_str(&format!("text {number}")));
                assert_eq!(set.contains(&text).unwrap(), round == 1);
                set.insert(text).unwrap();
                if number % 100 == 0 {
                    set.insert(Value::Int(number)).unwrap();
                    // Python's `1 == 1.0 == True`.
                    set.insert(Value::Float(number as f64)).unwrap();
                }
            }
        }
        assert_eq!(set.items().len(), 1010);
        assert!(!set.contains(&Value::Text("text 1000")).unwrap());
        assert!(set.contains(&Value::Int(900)).unwrap());
        assert!(!set.contains(&Value::Int(901)).unwrap());
        assert_eq!(set.looks(&Value::Text("text 1")), 1);
    }

    #[test]
    fn what_was_taken_is_there_no_more() {
        let arena = Bump::new();
        let set = Elements::new(&arena);
        set.insert(Value::Text("one")).unwrap();
        assert!(matches!(set.pop(), Some(Value::Text("one"))));
        assert!(!set.contains(&Value::Text("one")).unwrap());
        assert!(set.pop().is_none());
    }
}
