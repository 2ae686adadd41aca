//! Evaluates functions of a pack over one event.
//!
//! What Python would do and this does not is a hole: reaching one ends the evaluation without a trace, and Python evaluates the pair of detection and
//! event. So nothing here has effects beyond the event's arena.

use std::cell::RefCell;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::pattern::{Pattern, Way};
use super::program::{Function, Model, Program};
use super::rows::Rows;
use super::stop::{Raised, Stop, raise};
use super::trail::Trail;
use super::value::{Closure, Done, Value, Whole};
use crate::event::Map;

/// What a pair may take. What takes more is for Python, whose time and memory are bounded from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Statements, loops and calls.
    steps: u32,
    /// Bytes, of all rules of an event together.
    bytes: usize,
    /// What is printed is shown to the author, so it is for Python, which keeps it.
    pub(super) output_is_shown: bool,
}

impl Bounds {
    /// While events flow. A rule takes some hundred steps.
    pub(super) const LIVE: Self = Self {
        steps: 200_000,
        bytes: 64 << 20,
        output_is_shown: false,
    };
    /// Under test, where nobody else waits: a policy that goes through all actions of AWS takes some millions.
    pub(super) const TEST: Self = Self {
        steps: 20_000_000,
        bytes: 1 << 30,
        output_is_shown: true,
    };
}

/// The hole at their end.
pub(super) const STEPS: &str = "many steps";
/// Calls within calls. Python's own limit is a thousand.
const DEEPEST: u32 = 40;
/// Statements and expressions inside each other, over all calls: each takes some of the thread's stack.
const MOST_NESTED: u32 = 300;
/// Characters of a text that is put together.
pub(super) const LONGEST_TEXT: usize = 1 << 20;

/// A search in a text of the event, and what it found: `title` and `alert_context` search again for what `rule` has found.
#[derive(Debug)]
pub(super) struct Search<'e> {
    pub(super) pattern: &'e Pattern,
    pub(super) way: Way,
    pub(super) text: &'e str,
    pub(super) found: Value<'e>,
}

/// How a statement ended.
pub(super) enum Flow<'e> {
    On,
    Return(Value<'e>),
    Break,
    Continue,
}

/// One event under evaluation.
pub(super) struct Run<'e> {
    pub(super) arena: &'e Bump,
    /// Frames of calls that have ended, for those to come.
    frames: ArenaVec<'e, ArenaVec<'e, Value<'e>>>,
    pub(super) program: &'e Program,
    pub(super) model: Option<&'e Model>,
    /// What its functions are given: a view of the event, or, of a policy, a dict.
    pub(super) subject: Value<'e>,
    pub(super) bounds: Bounds,
    /// Values of the globals that functions write, of the pair that is evaluated.
    pub(super) written: ArenaVec<'e, Value<'e>>,
    pub(super) wrote: bool,
    /// Slots of such globals that were read as they were loaded.
    pub(super) as_loaded: ArenaVec<'e, usize>,
    /// Unified fields that have been asked for: a hundred rules ask one event for the same few. `None`: it has none.
    pub(super) unified: ArenaVec<'e, (&'e str, Option<Value<'e>>)>,
    /// Searches by patterns that one of its rules has made.
    pub(super) searches: ArenaVec<'e, Search<'e>>,
    /// Whether Python might put texts otherwise: it draws the order of a set anew in each process, and its clock is another.
    pub(super) loose: bool,
    /// Rows for the rules that may ask the key-value store.
    pub(super) of_store: Option<&'e RefCell<Rows>>,
    /// The rows of the key-value store, if it may be asked by the pair that is evaluated.
    pub(super) rows: Option<&'e RefCell<Rows>>,
    /// The exception that is on its way out.
    pub(super) trail: Trail,
    /// Where texts are put together, so that the arena gets them once and whole.
    scratch: String,
    steps: u32,
    pub(super) depth: u32,
    nested: u32,
}

pub(super) type Frame<'f, 'e> = &'f mut [Value<'e>];

impl<'e> Run<'e> {
    pub(super) fn new(
        arena: &'e Bump,
        program: &'e Program,
        model: Option<&'e Model>,
        event: &'e Map<'e>,
    ) -> Self {
        Self {
            arena,
            frames: ArenaVec::new_in(arena),
            program,
            model,
            subject: Value::View(event, Whole::Yes),
            bounds: Bounds::LIVE,
            written: bumpalo::vec![in arena; Value::Unbound; program.written.len()],
            wrote: false,
            as_loaded: ArenaVec::new_in(arena),
            unified: ArenaVec::new_in(arena),
            searches: ArenaVec::new_in(arena),
            loose: false,
            of_store: None,
            rows: None,
            trail: Trail::default(),
            scratch: String::new(),
            steps: 0,
            depth: 0,
            nested: 0,
        }
    }

    /// Before the next detection looks at the event.
    pub(super) fn begin(&mut self) {
        self.steps = 0;
        self.depth = 0;
        self.nested = 0;
        self.loose = false;
        self.trail.clear();
        self.trail.handling = 0;
        self.as_loaded.clear();
        if self.wrote {
            self.written.fill(Value::Unbound);
            self.wrote = false;
        }
    }

    pub(super) fn step(&mut self, count: usize) -> Done<'e, ()> {
        self.steps = self
            .steps
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.steps > self.bounds.steps {
            return Err(Stop::Hole(&STEPS));
        }
        if self.arena.allocated_bytes() > self.bounds.bytes {
            return Err(Stop::Hole(&"much memory"));
        }
        Ok(())
    }

    /// Calls a function of the detection with the event.
    pub(super) fn over_event(&mut self, function: usize) -> Done<'e> {
        self.call_place(function, &[self.subject], &[])
    }

    pub(super) fn call_place(
        &mut self,
        place: usize,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        let function = self
            .program
            .functions
            .get(place)
            .ok_or(Stop::Hole(&"a function"))?;
        self.call_function(function, positional, named, |_| {})
    }

    fn call_function(
        &mut self,
        function: &'e Function,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
        prepare: impl FnOnce(Frame<'_, 'e>),
    ) -> Done<'e> {
        self.step(1)?;
        if self.depth >= DEEPEST {
            return Err(Stop::Hole(&"deep recursion"));
        }
        let frame = self.frames.pop();
        let mut frame =
            frame.unwrap_or_else(|| ArenaVec::with_capacity_in(function.slots, self.arena));
        frame.clear();
        frame.resize(function.slots, Value::Unbound);
        self.bind(function, positional, named, &mut frame)?;
        prepare(&mut frame);
        self.depth += 1;
        let flow = self.block(&function.body, &mut frame);
        self.depth -= 1;
        self.frames.push(frame);
        match flow? {
            Flow::Return(value) => Ok(value),
            _ => Ok(Value::None),
        }
    }

    fn bind(
        &mut self,
        function: &'e Function,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, ()> {
        let parameters = &function.parameters;
        let count = parameters.positional.len();
        let given = positional.len().min(count);
        frame[..given].copy_from_slice(&positional[..given]);
        if positional.len() > count && !parameters.rest {
            return Err(raise("TypeError"));
        }
        if parameters.rest {
            let rest = positional.get(count..).unwrap_or(&[]);
            frame[count + parameters.keyword_only.len()] =
                Value::Tuple(self.arena.alloc_slice_copy(rest));
        }
        for (name, value) in named {
            let slot = parameters
                .positional
                .iter()
                .chain(&parameters.keyword_only)
                .position(|parameter| *parameter.name == **name)
                .ok_or_else(|| raise("TypeError"))?;
            if !matches!(frame[slot], Value::Unbound) {
                return Err(raise("TypeError"));
            }
            frame[slot] = *value;
        }
        for (slot, parameter) in parameters
            .positional
            .iter()
            .chain(&parameters.keyword_only)
            .enumerate()
        {
            if matches!(frame[slot], Value::Unbound) {
                frame[slot] = match &parameter.default {
                    Some(default) => default.value()?,
                    None => return Err(raise("TypeError")),
                };
            }
        }
        Ok(())
    }

    /// Calls whatever can be called.
    pub(super) fn call(
        &mut self,
        callee: Value<'e>,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        match callee {
            Value::Function(place) => self.call_place(place, positional, named),
            Value::Lambda(Closure { lambda, captured }) => {
                self.call_function(&lambda.function, positional, named, |frame| {
                    for ((_, inner), value) in lambda.captured.iter().zip(*captured) {
                        frame[*inner] = *value;
                    }
                    if let Some(own) = lambda.own {
                        frame[own] = callee;
                    }
                })
            }
            Value::Builtin(builtin) => self.builtin(builtin, positional, named),
            Value::Class(class) => self.construct(class, positional, named),
            Value::Kind(kind) => self.instance(kind, positional, named),
            Value::ErrorClass(classes) => {
                let text = match (positional, named) {
                    ([Value::Text(text)], []) if classes.shown().is_some() => Some(*text),
                    _ => None,
                };
                Ok(Value::Error(self.arena.alloc(Raised { classes, text })))
            }
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole(&"a call of an object")),
        }
    }

    /// A text that is put together.
    pub(super) fn text(
        &mut self,
        write: impl FnOnce(&mut Self, &mut String) -> Done<'e, ()>,
    ) -> Done<'e> {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let done = write(self, &mut out);
        let made = done.map(|()| Value::Text(self.arena.alloc_str(&out)));
        self.scratch = out;
        made
    }

    /// One level further into statements or expressions.
    pub(super) fn nest(&mut self) -> Done<'e, ()> {
        if self.nested >= MOST_NESTED {
            return Err(Stop::Hole(&"deeply nested code"));
        }
        self.nested += 1;
        Ok(())
    }

    /// And out of it.
    pub(super) fn leave(&mut self) {
        self.nested -= 1;
    }
}

/// What a name holds that only an earlier event can have given its value.
pub(super) const STALE: &str = "state of an earlier event";

/// The key-value store, where it may not be asked.
pub(super) const STORE: &str = "the key-value store";

/// A container of the pack that a function would change for all events to come.
pub(super) const CHANGED: &str = "a constant that is changed in place";
