//! Evaluates functions of a pack over one event.
//!
//! What Python would do and this does not is a hole: reaching one ends the evaluation without a trace, and Python evaluates the pair of detection and
//! event. So nothing here has effects beyond the event's arena.

use std::cell::RefCell;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::program::{Expression, Function, Handler, Model, Operator, Program, Statement, Target};
use super::raised::Trail;
use super::store::Rows;
use super::value::{Done, Raised, Stop, Value, Whole, raise};
use crate::event::Map;

/// Statements, loops and calls that a pair may take. A rule takes some hundred.
const MOST_STEPS: u32 = 200_000;
/// The hole at their end.
pub(super) const STEPS: &str = "many steps";
/// Calls within calls. Python's own limit is a thousand.
const DEEPEST: u32 = 40;
/// Statements and expressions inside each other, over all calls: each takes some of the thread's stack.
const MOST_NESTED: u32 = 300;
/// Bytes that all rules together may take for one event. What is larger is for Python, whose memory is bounded from outside.
const MOST_BYTES: usize = 64 << 20;
/// Characters of a text that is put together.
pub(super) const LONGEST_TEXT: usize = 1 << 20;

/// One event under evaluation.
pub(super) struct Run<'e> {
    pub(super) arena: &'e Bump,
    pub(super) program: &'e Program,
    pub(super) model: Option<&'e Model>,
    pub(super) event: &'e Map<'e>,
    /// Values of the globals that functions write, of the pair that is evaluated.
    pub(super) written: ArenaVec<'e, Value<'e>>,
    pub(super) wrote: bool,
    /// Unified fields that have been asked for: a hundred rules ask one event for the same few. `None`: it has none.
    pub(super) unified: ArenaVec<'e, (&'e str, Option<Value<'e>>)>,
    /// Whether something was taken from a set in an order that Python might have drawn otherwise.
    pub(super) any_order: bool,
    /// The rows of the key-value store, if it may be asked.
    pub(super) rows: Option<&'e RefCell<Rows>>,
    /// The exception that is on its way out.
    pub(super) trail: Trail,
    steps: u32,
    depth: u32,
    nested: u32,
}

/// How a statement ended.
enum Flow<'e> {
    On,
    Return(Value<'e>),
    Break,
    Continue,
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
            program,
            model,
            event,
            written: bumpalo::vec![in arena; Value::Unbound; program.written],
            wrote: false,
            unified: ArenaVec::new_in(arena),
            any_order: false,
            rows: None,
            trail: Trail::default(),
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
        self.any_order = false;
        self.trail.clear();
        self.trail.handling = 0;
        if self.wrote {
            self.written.fill(Value::Unbound);
            self.wrote = false;
        }
    }

    pub(super) fn step(&mut self, count: usize) -> Done<'e, ()> {
        self.steps = self
            .steps
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.steps > MOST_STEPS {
            return Err(Stop::Hole(STEPS));
        }
        if self.arena.allocated_bytes() > MOST_BYTES {
            return Err(Stop::Hole("much memory"));
        }
        Ok(())
    }

    /// Calls a function of the detection with the event.
    pub(super) fn over_event(&mut self, function: usize) -> Done<'e> {
        self.call_place(function, &[Value::View(self.event, Whole::Yes)], &[])
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
            .ok_or(Stop::Hole("a function"))?;
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
            return Err(Stop::Hole("deep recursion"));
        }
        let frame = self
            .arena
            .alloc_slice_fill_copy(function.slots, Value::Unbound);
        self.bind(function, positional, named, frame)?;
        prepare(frame);
        self.depth += 1;
        let flow = self.block(&function.body, frame);
        self.depth -= 1;
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
                .ok_or(raise("TypeError"))?;
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
            Value::Lambda(lambda, captured) => {
                self.call_function(&lambda.function, positional, named, |frame| {
                    for ((_, inner), value) in lambda.captured.iter().zip(captured) {
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
            Value::ErrorClass(classes) => Ok(Value::Error(Raised { classes })),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole("a call of an object")),
        }
    }

    // Statements.

    /// One level further into statements or expressions.
    pub(super) fn nest(&mut self) -> Done<'e, ()> {
        if self.nested >= MOST_NESTED {
            return Err(Stop::Hole("deeply nested code"));
        }
        self.nested += 1;
        Ok(())
    }

    /// And out of it.
    pub(super) fn leave(&mut self) {
        self.nested -= 1;
    }

    fn block(&mut self, statements: &'e [Statement], frame: Frame<'_, 'e>) -> Done<'e, Flow<'e>> {
        self.nest()?;
        let flow = self.each_of(statements, frame);
        self.leave();
        flow
    }

    fn each_of(&mut self, statements: &'e [Statement], frame: Frame<'_, 'e>) -> Done<'e, Flow<'e>> {
        for statement in statements {
            match self.statement(statement, frame)? {
                Flow::On => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::On)
    }

    fn statement(&mut self, statement: &'e Statement, frame: Frame<'_, 'e>) -> Done<'e, Flow<'e>> {
        self.step(1)?;
        match statement {
            Statement::Return(value) => {
                return Ok(Flow::Return(match value {
                    Some(value) => self.evaluate(value, frame)?,
                    None => Value::None,
                }));
            }
            Statement::Expression(value) => {
                self.evaluate(value, frame)?;
            }
            Statement::Assign(targets, value) => {
                let value = self.evaluate(value, frame)?;
                for target in targets {
                    self.assign(target, value, frame)?;
                }
            }
            Statement::Augment(target, operator, value) => {
                self.augment(target, *operator, value, frame)?;
            }
            Statement::If(test, yes, no) => {
                let chosen = if self.truth(test, frame)? { yes } else { no };
                return self.block(chosen, frame);
            }
            Statement::For {
                target,
                over,
                body,
                otherwise,
            } => return self.for_loop(target, over, body, otherwise, frame),
            Statement::While {
                test,
                body,
                otherwise,
            } => {
                loop {
                    self.step(1)?;
                    if !self.truth(test, frame)? {
                        break;
                    }
                    match self.block(body, frame)? {
                        Flow::On | Flow::Continue => {}
                        Flow::Break => return Ok(Flow::On),
                        returned => return Ok(returned),
                    }
                }
                return self.block(otherwise, frame);
            }
            Statement::Try {
                body,
                handlers,
                otherwise,
                finally,
            } => return self.attempt(body, handlers, otherwise, finally, frame),
            Statement::Raise(what) => {
                let Some(what) = what else {
                    return Err(Stop::Hole("raising again"));
                };
                return Err(match self.evaluate(what, frame)? {
                    Value::Error(raised) => Stop::Raise(raised),
                    Value::ErrorClass(classes) => Stop::Raise(Raised { classes }),
                    _ => Stop::Hole("raising something else"),
                });
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
            Statement::Pass => {}
            Statement::Hole(what) => return Err(Stop::Hole(what)),
        }
        Ok(Flow::On)
    }

    fn for_loop(
        &mut self,
        target: &'e Target,
        over: &'e Expression,
        body: &'e [Statement],
        otherwise: &'e [Statement],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, Flow<'e>> {
        let over = self.evaluate(over, frame)?;
        let elements = self.ordered(&over)?;
        let length = over.length();
        for element in elements {
            self.step(1)?;
            self.assign(target, *element, frame)?;
            match self.block(body, frame)? {
                Flow::On | Flow::Continue => {}
                Flow::Break => return Ok(Flow::On),
                returned => return Ok(returned),
            }
            if over.length() != length {
                return Err(Stop::Hole("a container changed while it is gone through"));
            }
        }
        self.block(otherwise, frame)
    }

    fn attempt(
        &mut self,
        body: &'e [Statement],
        handlers: &'e [Handler],
        otherwise: &'e [Statement],
        finally: &'e [Statement],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, Flow<'e>> {
        let depth = self.depth;
        let mut flow = match self.block(body, frame) {
            Ok(Flow::On) => self.block(otherwise, frame),
            Err(Stop::Raise(raised)) => {
                self.depth = depth;
                self.handle(raised, handlers, frame)
            }
            other => other,
        };
        if matches!(flow, Err(Stop::Hole(_) | Stop::Missing(_))) {
            return flow;
        }
        self.depth = depth;
        match self.block(finally, frame)? {
            Flow::On => {}
            instead => flow = Ok(instead),
        }
        flow
    }

    fn handle(
        &mut self,
        raised: Raised<'e>,
        handlers: &'e [Handler],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, Flow<'e>> {
        for handler in handlers {
            let takes = match &handler.class {
                None => true,
                Some(class) => {
                    let class = self.evaluate(class, frame)?;
                    takes(&class, &raised, self.arena)?
                }
            };
            if takes {
                if let Some(slot) = handler.slot {
                    frame[slot] = Value::Error(raised);
                }
                self.trail.clear();
                self.trail.handling += 1;
                let flow = self.block(&handler.body, frame);
                self.trail.handling -= 1;
                if let Some(slot) = handler.slot {
                    frame[slot] = Value::Unbound;
                }
                return flow;
            }
        }
        Err(Stop::Raise(raised))
    }

    pub(super) fn assign(
        &mut self,
        target: &'e Target,
        value: Value<'e>,
        frame: Frame<'_, 'e>,
    ) -> Done<'e, ()> {
        match target {
            Target::Local(slot) => frame[*slot] = value,
            Target::Written(slot) => {
                self.written[*slot] = value;
                self.wrote = true;
            }
            Target::Item(of, key) => {
                let of = self.evaluate(of, frame)?;
                let key = self.evaluate(key, frame)?;
                self.store(&of, key, value)?;
            }
            Target::Attribute(of, name) => match self.evaluate(of, frame)? {
                Value::Instance(instance) => instance.set(name, value)?,
                _ => return Err(Stop::Hole("an attribute that is set")),
            },
            Target::Several(targets, starred) => {
                let values = self.ordered(&value)?;
                match starred {
                    None if values.len() == targets.len() => {
                        for (target, value) in targets.iter().zip(values) {
                            self.assign(target, *value, frame)?;
                        }
                    }
                    Some(place) if values.len() + 1 >= targets.len() => {
                        let many = values.len() + 1 - targets.len();
                        for (target, value) in targets[..*place].iter().zip(values) {
                            self.assign(target, *value, frame)?;
                        }
                        let mut rest = ArenaVec::new_in(self.arena);
                        rest.extend_from_slice(&values[*place..place + many]);
                        self.assign(&targets[*place], Value::list(self.arena, rest), frame)?;
                        for (target, value) in
                            targets[place + 1..].iter().zip(&values[place + many..])
                        {
                            self.assign(target, *value, frame)?;
                        }
                    }
                    _ => return Err(raise("ValueError")),
                }
            }
            Target::Hole(what) => return Err(Stop::Hole(what)),
        }
        Ok(())
    }

    /// `of[key] = value`.
    pub(super) fn store(
        &mut self,
        of: &Value<'e>,
        key: Value<'e>,
        value: Value<'e>,
    ) -> Done<'e, ()> {
        match of {
            Value::Dict(pairs) | Value::Ordered(pairs) => {
                if !key.hashable()? {
                    return Err(raise("TypeError"));
                }
                self.step(pairs.borrow().len() / 16)?;
                let mut place = None;
                for (at, (name, _)) in pairs.borrow().iter().enumerate() {
                    if name.equals(&key)? {
                        place = Some(at);
                        break;
                    }
                }
                match place {
                    Some(at) => pairs.borrow_mut()[at].1 = value,
                    None => pairs.borrow_mut().push((key, value)),
                }
                Ok(())
            }
            Value::List(items) => match key {
                Value::Int(place) => {
                    let at = self.place(place, items.borrow().len())?;
                    items.borrow_mut()[at] = value;
                    Ok(())
                }
                _ => Err(Stop::Hole("an assignment to a slice")),
            },
            Value::View(..) | Value::ListView(_) | Value::None | Value::Text(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole(CHANGED)),
        }
    }

    fn augment(
        &mut self,
        target: &'e Target,
        operator: Operator,
        value: &'e Expression,
        frame: Frame<'_, 'e>,
    ) -> Done<'e, ()> {
        let current = match target {
            Target::Local(slot) => self.local(frame[*slot])?,
            Target::Written(slot) => self.global(*slot)?,
            Target::Item(of, key) => {
                let of = self.evaluate(of, frame)?;
                let key = self.evaluate(key, frame)?;
                let current = self.subscript(&of, &key)?;
                let value = self.evaluate(value, frame)?;
                let result = self.augmented(current, operator, value)?;
                return self.store(&of, key, result);
            }
            Target::Attribute(of, name) => match self.evaluate(of, frame)? {
                Value::Instance(instance) => {
                    let current = self.own_attribute(instance, name)?;
                    let value = self.evaluate(value, frame)?;
                    let result = self.augmented(current, operator, value)?;
                    return instance.set(name, result);
                }
                _ => return Err(Stop::Hole("an attribute that is set")),
            },
            Target::Several(..) => return Err(Stop::Hole("several targets")),
            Target::Hole(what) => return Err(Stop::Hole(what)),
        };
        let value = self.evaluate(value, frame)?;
        let result = self.augmented(current, operator, value)?;
        self.assign(target, result, frame)
    }

    /// `+=` changes a list in place, others make a new value.
    fn augmented(&mut self, current: Value<'e>, operator: Operator, value: Value<'e>) -> Done<'e> {
        match (current, operator) {
            (Value::List(items), Operator::Add) => {
                let more = self.ordered(&value)?;
                items.borrow_mut().extend_from_slice(more);
                Ok(current)
            }
            (Value::Set(_) | Value::Dict(_) | Value::Ordered(_) | Value::Frozen(_), _) => {
                Err(Stop::Hole(CHANGED))
            }
            _ => self.binary(operator, current, value),
        }
    }
}

/// What a name holds that only an earlier event can have given its value.
pub(super) const STALE: &str = "state of an earlier event";

/// The key-value store, where it may not be asked.
pub(super) const STORE: &str = "the key-value store";

/// A container of the pack that a function would change for all events to come.
pub(super) const CHANGED: &str = "a constant that is changed in place";

pub(super) fn takes<'e>(class: &Value<'e>, raised: &Raised<'e>, arena: &'e Bump) -> Done<'e, bool> {
    match class {
        Value::ErrorClass(classes) => Ok(raised.classes.include(classes.name())),
        value if value.is_tuple() => {
            for one in value.elements(arena)?.unwrap_or(&[]) {
                if one.is_tuple() {
                    return Err(Stop::Hole("classes inside classes"));
                }
                if takes(one, raised, arena)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(Stop::Hole("an exception of another sort")),
    }
}
