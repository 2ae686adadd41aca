//! Which rules say no to an event, known from events like it.
//!
//! A rule that looks at an event decides by what it looks up. While it runs its look-ups are noted; if it said no and looked at nothing but a few
//! fields, it says no to every event that has the same in those fields. So the first event with some values in them is shown to all rules of its log
//! type, and the events after it only to those that did not say no or looked further. Nothing is assumed of a rule: what it looked up is all that it
//! can know of the event.
//!
//! Which fields those are is learnt from the first events of a log type: the ones that rules look up most and that take few values.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::event::{Map, Node, Peeked, Read};

/// Events from which the fields are learnt.
const LEARNT_FROM: u32 = 400;
/// Values that a field may take in them.
const MOST_VALUES: usize = 100;
/// Values that the field may take which rules look up most: the name of what happened, of which some sources have hundreds.
const MOST_NAMES: usize = 300;
/// Fields that are compared. To compare one takes 20 ns, and a rule that reads a further field looks at every event.
const MOST_FIELDS: usize = 24;
/// Combinations that are kept.
const MOST_KEYS: usize = 4096;
/// Bytes of a text in a field; an event with a longer one is shown to all rules.
const LONGEST_TEXT: usize = 64;

/// The path of a field.
pub(super) type Path = Vec<Box<str>>;

/// What is known of the events of a log type.
#[derive(Debug)]
pub(super) struct Memo {
    state: RwLock<State>,
}

#[derive(Debug)]
enum State {
    Learning(Learning),
    Ready(Ready),
    /// Too many combinations for too few events.
    Off,
}

#[derive(Debug, Default)]
struct Learning {
    events: u32,
    fields: HashMap<Path, Learnt>,
}

/// What was seen of a field.
#[derive(Debug, Default)]
struct Learnt {
    /// How often a rule that said no had looked it up.
    reads: u64,
    /// What events had in it; emptied once it is too much.
    values: HashSet<Box<[u8]>>,
    /// Look-ups of what cannot be said in short.
    unsaid: u64,
    unfit: bool,
}

#[derive(Debug)]
struct Ready {
    fields: Vec<Path>,
    /// How many globals had been written when `known` began to be kept.
    writes: u64,
    /// The rules that have to look, by what the fields hold.
    known: HashMap<Box<[u8]>, Arc<[u32]>, RandomState>,
    /// Events that were known, since it was empty.
    hits: AtomicU64,
}

/// What the memo says of an event.
#[derive(Debug)]
pub(super) enum Recollection {
    /// Only these rules may say anything but no.
    Only(Arc<[u32]>),
    /// Such an event is new: show it to all, and [`Memo::keep`] who said no, under this key.
    New(Key),
    /// More is to be learnt first: [`Memo::learn`].
    Learn,
    /// Nothing, and nothing is to be kept of it.
    Nothing,
}

/// What an event has in the fields.
#[derive(Debug)]
pub(super) struct Key {
    said: Box<[u8]>,
    /// Fields, by their places, of which the key does not say all that a look-up tells.
    unsaid: Places,
}

/// A bit for each of at most [`MOST_FIELDS`] fields.
type Places = u32;
const _: () = assert!(MOST_FIELDS <= Places::BITS as usize);

impl Memo {
    pub(super) fn new() -> Self {
        Self {
            state: RwLock::new(State::Learning(Learning::default())),
        }
    }

    /// `writes` counts the globals of the pack that have been written since it was loaded: a rule that read one may say something else by now, so
    /// whatever was kept under a smaller number is forgotten.
    pub(super) fn recall(&self, event: &Map<'_>, writes: u64) -> Recollection {
        match &*self.state.read() {
            State::Learning(_) => Recollection::Learn,
            State::Off => Recollection::Nothing,
            State::Ready(ready) => {
                let mut said = Vec::with_capacity(128);
                let mut unsaid = 0;
                for (place, field) in ready.fields.iter().enumerate() {
                    if !encode(&mut said, event, field) {
                        unsaid |= 1 << place;
                    }
                }
                match ready.known.get(said.as_slice()) {
                    Some(rules) if ready.writes == writes => {
                        ready.hits.fetch_add(1, Ordering::Relaxed);
                        Recollection::Only(Arc::clone(rules))
                    }
                    _ => Recollection::New(Key {
                        said: said.into_boxed_slice(),
                        unsaid,
                    }),
                }
            }
        }
    }

    /// Takes in what the rules that said no to an event have looked up, rule by rule.
    pub(super) fn learn(&self, event: &Map<'_>, looked_up: &[Vec<Path>]) {
        let mut state = self.state.write();
        let State::Learning(learning) = &mut *state else {
            return;
        };
        learning.events += 1;
        for path in looked_up.iter().flatten() {
            let of = learning.fields.entry(path.clone()).or_default();
            of.reads += 1;
            if of.unfit {
                continue;
            }
            let mut value = Vec::new();
            if encode(&mut value, event, path) {
                of.values.insert(value.into_boxed_slice());
            } else {
                of.unsaid += 1;
            }
            if of.values.len() > MOST_NAMES {
                of.unfit = true;
                of.values.clear();
            }
        }
        if learning.events >= LEARNT_FROM {
            let mut fields: Vec<(Path, Learnt)> = std::mem::take(&mut learning.fields)
                .into_iter()
                .filter(|(_, of)| !of.unfit && of.unsaid * 8 < of.reads)
                .collect();
            fields.sort_by(|(path, of), (other_path, other)| {
                (other.reads, path).cmp(&(of.reads, other_path))
            });
            // A field says all of those on the way to it.
            let paths: Vec<Path> = fields
                .into_iter()
                .enumerate()
                .filter(|(place, (_, of))| *place == 0 || of.values.len() <= MOST_VALUES)
                .map(|(_, (path, _))| path)
                .collect();
            let on_the_way = |path: &Path| {
                paths
                    .iter()
                    .any(|other| other.len() > path.len() && other.starts_with(path))
            };
            *state = State::Ready(Ready {
                fields: paths
                    .iter()
                    .filter(|path| !on_the_way(path))
                    .take(MOST_FIELDS)
                    .cloned()
                    .collect(),
                writes: 0,
                known: HashMap::default(),
                hits: AtomicU64::new(0),
            });
        }
    }

    /// Whether what a rule looked up is all within the fields of which the key says what they hold.
    pub(super) fn covers(&self, key: &Key, looked_up: &[Path]) -> bool {
        let State::Ready(ready) = &*self.state.read() else {
            return false;
        };
        let told = |path: &Path| {
            ready
                .fields
                .iter()
                .enumerate()
                .any(|(place, field)| key.unsaid & (1 << place) == 0 && field.starts_with(path))
        };
        looked_up.iter().all(told)
    }

    /// Keeps which rules have to look at events with this key. `writes` is what [`Memo::recall`] was given for this event.
    pub(super) fn keep(&self, key: Key, rules: Vec<u32>, writes: u64) {
        let mut state = self.state.write();
        let State::Ready(ready) = &mut *state else {
            return;
        };
        if ready.writes < writes {
            ready.known.clear();
            ready.writes = writes;
        }
        if ready.writes > writes {
            return;
        }
        if ready.known.len() >= MOST_KEYS {
            if ready.hits.load(Ordering::Relaxed) < MOST_KEYS as u64 {
                *state = State::Off;
                return;
            }
            ready.known.clear();
            ready.hits.store(0, Ordering::Relaxed);
        }
        ready.known.insert(key.said, rules.into());
    }
}

/// Appends what an event has at a path, in a form that tells apart what a look-up on the way to it or at its end tells apart. False if that cannot
/// be said in short; then what is appended says that.
fn encode(out: &mut Vec<u8>, event: &Map<'_>, path: &[Box<str>]) -> bool {
    let mut map = event;
    for (depth, key) in path.iter().enumerate() {
        let depth = u8::try_from(depth).unwrap_or(u8::MAX);
        let mut said = true;
        let found = match map.peek(key) {
            Peeked::Exact(found) => Some(found),
            Peeked::Spelt(found) => {
                out.extend([8, depth]);
                Some(found)
            }
            Peeked::Absent => {
                out.push(0);
                None
            }
            Peeked::Unknown => {
                out.push(9);
                None
            }
        };
        match found {
            None => {}
            Some(Node::Null) => out.push(1),
            Some(Node::Bool(value)) => out.extend([2, u8::from(value)]),
            Some(Node::Int(value)) => {
                out.push(3);
                out.extend(value.to_le_bytes());
            }
            Some(Node::Float(value)) => {
                out.push(4);
                out.extend(value.to_bits().to_le_bytes());
            }
            Some(Node::Text(text)) if text.len() <= LONGEST_TEXT => {
                out.extend([5, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
                out.extend(text.as_bytes());
            }
            Some(Node::Text(_) | Node::Big) => {
                said = false;
                out.push(10);
            }
            Some(Node::List([])) => out.push(11),
            Some(Node::List(_)) => out.push(6),
            // A rule may ask of a mapping whether it is empty, and nothing else.
            Some(Node::Map(inner)) if inner.is_empty() => out.push(12),
            Some(Node::Map(inner)) if usize::from(depth) + 1 < path.len() => {
                map = inner;
                continue;
            }
            Some(Node::Map(_)) => out.push(7),
        }
        // Where the way ended.
        out.push(depth);
        return said;
    }
    true
}

/// The paths that a rule has looked up, given its look-ups in order. `None` if it went beyond what a path says: into a list that is not empty.
pub(super) fn paths(event: &Map<'_>, reads: &[Read<'_>]) -> Option<Vec<Path>> {
    let mut places: Vec<(*const (), Path)> = vec![(std::ptr::from_ref(event).cast(), Path::new())];
    let mut paths = Vec::with_capacity(reads.len());
    for read in reads {
        let of: *const () = read.of.cast();
        let mut path = places.iter().find(|(place, _)| *place == of)?.1.clone();
        path.push(read.key.into());
        match read.found {
            Some(Node::List([_, ..])) => return None,
            Some(Node::Map(map)) => {
                let place: *const () = std::ptr::from_ref(map).cast();
                match places.iter().find(|(known, _)| *known == place) {
                    None => places.push((place, path.clone())),
                    // Under two spellings: another event may have two mappings there.
                    Some((_, other)) if *other != path => return None,
                    Some(_) => {}
                }
            }
            _ => {}
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Some(paths)
}
