//! Sets of one event: their elements in the order in which they came, and, once there are many, an index of the texts among them.

use std::cell::{Ref, RefCell};
use std::hash::BuildHasher;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::value::{Done, Elements, Place, Value};

/// Elements from which on an index finds a text sooner than going through them.
const INDEXED_FROM: usize = 16;

impl Place {
    /// The table goes by the first bits and by the last ones.
    fn whole(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl<'e> Elements<'e> {
    pub(super) fn new(arena: &'e Bump) -> Self {
        Self {
            items: RefCell::new(ArenaVec::new_in(arena)),
            index: RefCell::new(HashTable::new_in(arena)),
            hashes: RandomState::default(),
        }
    }

    pub(super) fn items(&self) -> Ref<'_, ArenaVec<'e, Value<'e>>> {
        self.items.borrow()
    }

    /// How many elements have to be looked at to find one.
    pub(super) fn looks(&self, wanted: &Value<'e>) -> usize {
        match wanted {
            Value::Text(_) if self.is_indexed() => 1,
            _ => self.items.borrow().len(),
        }
    }

    fn is_indexed(&self) -> bool {
        self.items.borrow().len() >= INDEXED_FROM
    }

    pub(super) fn contains(&self, wanted: &Value<'e>) -> Done<'e, bool> {
        let items = self.items.borrow();
        match wanted {
            // Only a text equals a text.
            Value::Text(text) if self.is_indexed() => {
                let hash = self.hash(text);
                let is_it = |place: &Place| place.hash == hash && is_at(&items, *place, text);
                Ok(self
                    .index
                    .borrow()
                    .find(Place::whole(hash), is_it)
                    .is_some())
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
        match value {
            Value::Text(text) if self.is_indexed() => {
                let mut items = self.items.borrow_mut();
                if self.note(text, &items) {
                    items.push(value);
                }
                return Ok(());
            }
            value if self.contains(&value)? => return Ok(()),
            _ => {}
        }
        let mut items = self.items.borrow_mut();
        items.push(value);
        if items.len() == INDEXED_FROM {
            for (place, item) in items.iter().enumerate() {
                if let Value::Text(text) = item {
                    self.note(text, &items[..place]);
                }
            }
        }
        Ok(())
    }

    /// Notes a text behind these items in the index; false if it is among them.
    fn note(&self, text: &str, items: &[Value<'e>]) -> bool {
        let hash = self.hash(text);
        let is_it = |place: &Place| place.hash == hash && is_at(items, *place, text);
        let mut index = self.index.borrow_mut();
        match index.entry(Place::whole(hash), is_it, |place| Place::whole(place.hash)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                // No set of a gigabyte has so many elements.
                let item = u32::try_from(items.len()).unwrap_or(u32::MAX);
                free.insert(Place { hash, item });
                true
            }
        }
    }

    fn hash(&self, text: &str) -> u32 {
        #[allow(clippy::cast_possible_truncation)]
        let half = self.hashes.hash_one(text) as u32;
        half
    }

    /// Takes the only element, or nothing if there is none. So few are not in the index.
    pub(super) fn pop(&self) -> Option<Value<'e>> {
        self.items.borrow_mut().pop()
    }
}

fn is_at(items: &[Value<'_>], place: Place, text: &str) -> bool {
    let item = items.get(place.item as usize);
    item.and_then(Value::as_text) == Some(text)
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
