//! Evaluates functions of a pack over one event.
//!
//! What Python would do and this does not is a hole: reaching one ends the evaluation without a trace, and Python evaluates the pair of detection and
//! event. So nothing here has effects beyond the event's arena.

use std::cell::RefCell;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::program::{
    Arguments, Comparison, Comprehension, Expression, Function, Handler, Made, Model, Operator,
    Part, Program, Statement, Target,
};
use super::store::Rows;
use super::text;
use super::value::{
    Done, Number, Raised, Stop, Value, Whole, contains_item, item, lookup, raise, wrap,
};
use crate::event::Map;

/// Statements, loops and calls that a pair may take. A rule takes some hundred.
const MOST_STEPS: u32 = 200_000;
/// Calls within calls. Python's own limit is a thousand.
const DEEPEST: u32 = 40;
/// Characters of a text that is put together.
pub(super) const LONGEST_TEXT: usize = 1 << 20;

/// One event under evaluation.
pub(super) struct Run<'e> {
    pub(super) arena: &'e Bump,
    pub(super) program: &'e Program,
    pub(super) model: Option<&'e Model>,
    pub(super) event: &'e Map<'e>,
    /// Values of the globals that functions write, of the pair that is evaluated.
    written: ArenaVec<'e, Value<'e>>,
    pub(super) wrote: bool,
    /// Unified fields that have been asked for: a hundred rules ask one event for the same few. `None`: it has none.
    pub(super) unified: ArenaVec<'e, (&'e str, Option<Value<'e>>)>,
    /// Whether something was taken from a set in an order that Python might have drawn otherwise.
    pub(super) any_order: bool,
    /// The rows of the key-value store, if it may be asked.
    pub(super) rows: Option<&'e RefCell<Rows>>,
    steps: u32,
    depth: u32,
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
            steps: 0,
            depth: 0,
        }
    }

    /// Before the next detection looks at the event.
    pub(super) fn begin(&mut self) {
        self.steps = 0;
        self.depth = 0;
        self.any_order = false;
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
            return Err(Stop::Hole("many steps"));
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
            Value::ErrorClass(classes) => Ok(Value::Error(Raised { classes })),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole("a call of an object")),
        }
    }

    // Statements.

    fn block(&mut self, statements: &'e [Statement], frame: Frame<'_, 'e>) -> Done<'e, Flow<'e>> {
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
                let flow = self.block(&handler.body, frame);
                if let Some(slot) = handler.slot {
                    frame[slot] = Value::Unbound;
                }
                return flow;
            }
        }
        Err(Stop::Raise(raised))
    }

    fn assign(
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

    // Expressions.

    pub(super) fn truth(
        &mut self,
        expression: &'e Expression,
        frame: Frame<'_, 'e>,
    ) -> Done<'e, bool> {
        self.evaluate(expression, frame)?.truthy()
    }

    fn local(&self, value: Value<'e>) -> Done<'e> {
        match value {
            Value::Unbound => Err(raise("UnboundLocalError")),
            value => Ok(value),
        }
    }

    fn global(&self, slot: usize) -> Done<'e> {
        match self.written[slot] {
            Value::Unbound => Err(Stop::Hole(STALE)),
            value => Ok(value),
        }
    }

    #[allow(clippy::too_many_lines)]
    pub(super) fn evaluate(
        &mut self,
        expression: &'e Expression,
        frame: Frame<'_, 'e>,
    ) -> Done<'e> {
        match expression {
            Expression::Constant(constant) => constant.value(),
            Expression::Local(slot) => self.local(frame[*slot]),
            Expression::Written(slot) => self.global(*slot),
            Expression::And(parts) => {
                let mut last = Value::None;
                for part in parts {
                    last = self.evaluate(part, frame)?;
                    if !last.truthy()? {
                        break;
                    }
                }
                Ok(last)
            }
            Expression::Or(parts) => {
                let mut last = Value::None;
                for part in parts {
                    last = self.evaluate(part, frame)?;
                    if last.truthy()? {
                        break;
                    }
                }
                Ok(last)
            }
            Expression::Not(of) => Ok(Value::Bool(!self.truth(of, frame)?)),
            Expression::Negate(of) => match self.evaluate(of, frame)?.number() {
                Some(Number::Int(value)) => value
                    .checked_neg()
                    .map(Value::Int)
                    .ok_or(Stop::Hole("a big integer")),
                Some(Number::Float(value)) => Ok(Value::Float(-value)),
                None => Err(Stop::Hole("a sign")),
            },
            Expression::Choice(parts) => {
                let [test, yes, no] = &**parts;
                let chosen = if self.truth(test, frame)? { yes } else { no };
                self.evaluate(chosen, frame)
            }
            Expression::Compare(first, rest) => {
                let mut left = self.evaluate(first, frame)?;
                let mut holds = true;
                for (comparison, right) in rest {
                    let right = self.evaluate(right, frame)?;
                    holds = self.compare(*comparison, &left, &right)?;
                    if !holds {
                        break;
                    }
                    left = right;
                }
                Ok(Value::Bool(holds))
            }
            Expression::Binary(operator, operands) => {
                let [left, right] = &**operands;
                let left = self.evaluate(left, frame)?;
                let right = self.evaluate(right, frame)?;
                self.binary(*operator, left, right)
            }
            Expression::Call(callee, arguments) => {
                let callee = self.evaluate(callee, frame)?;
                let (positional, named) = self.arguments(arguments, frame)?;
                self.call(callee, positional, named)
            }
            Expression::Method(of, method, arguments) => {
                let of = self.evaluate(of, frame)?;
                if matches!(
                    of,
                    Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_)
                ) {
                    return Err(raise("AttributeError"));
                }
                if arguments.named.is_empty()
                    && let [Expression::Constant(key)] = arguments.positional.as_slice()
                    && *method == super::names::Method::Get
                    && let Value::View(map, _) = of
                {
                    return self.get(map, key.value()?, Value::None);
                }
                let (positional, named) = self.arguments(arguments, frame)?;
                self.method(of, *method, positional, named)
            }
            Expression::Attribute(of, name) => {
                let of = self.evaluate(of, frame)?;
                self.attribute(&of, name)
            }
            Expression::Item(parts) => {
                let [of, key] = &**parts;
                let of = self.evaluate(of, frame)?;
                let key = self.evaluate(key, frame)?;
                self.subscript(&of, &key)
            }
            Expression::Slice(of, bounds) => {
                let of = self.evaluate(of, frame)?;
                let mut values = [None; 3];
                for (value, bound) in values.iter_mut().zip(bounds.iter()) {
                    if let Some(bound) = bound {
                        *value = match self.evaluate(bound, frame)? {
                            Value::None => None,
                            Value::Int(place) => Some(place),
                            _ => return Err(Stop::Hole("a slice by something else")),
                        };
                    }
                }
                self.slice(&of, values)
            }
            Expression::List(parts) => {
                let items = self.elements_of(parts, frame)?;
                Ok(Value::list(self.arena, items))
            }
            Expression::Tuple(parts) => Ok(Value::Tuple(
                self.elements_of(parts, frame)?.into_bump_slice(),
            )),
            Expression::Set(parts) => {
                let items = self.elements_of(parts, frame)?;
                self.new_set(&items)
            }
            Expression::Dict(parts) => {
                let dict = Value::dict(
                    self.arena,
                    ArenaVec::with_capacity_in(parts.len(), self.arena),
                );
                for (key, value) in parts {
                    if let Some(key) = key {
                        let key = self.evaluate(key, frame)?;
                        let value = self.evaluate(value, frame)?;
                        self.store(&dict, key, value)?;
                    } else {
                        let more = self.evaluate(value, frame)?;
                        let Some(pairs) = more.pairs(self.arena)? else {
                            return Err(raise("TypeError"));
                        };
                        for (key, value) in pairs {
                            self.store(&dict, *key, *value)?;
                        }
                    }
                }
                Ok(dict)
            }
            Expression::Starred(_) => Err(Stop::Hole("a starred expression")),
            Expression::Comprehension(made, of) => self.comprehension(*made, of, frame),
            Expression::Text(parts) => {
                let mut out = bumpalo::collections::String::new_in(self.arena);
                for part in parts {
                    match part {
                        Part::Text(text) => out.push_str(text),
                        Part::Value(value) => {
                            let value = self.evaluate(value, frame)?;
                            text::write_str(&mut out, &value)?;
                        }
                        Part::Repr(value) => {
                            let value = self.evaluate(value, frame)?;
                            text::write_repr(&mut out, &value)?;
                        }
                    }
                    if out.len() > LONGEST_TEXT {
                        return Err(Stop::Hole("a very long text"));
                    }
                }
                Ok(Value::Text(out.into_bump_str()))
            }
            Expression::Walrus(slot, value) => {
                let value = self.evaluate(value, frame)?;
                frame[*slot] = value;
                Ok(value)
            }
            Expression::Lambda(lambda) => {
                let mut captured = ArenaVec::with_capacity_in(lambda.captured.len(), self.arena);
                for (outer, _) in &lambda.captured {
                    match frame[*outer] {
                        Value::Unbound => return Err(Stop::Hole("a name that is captured early")),
                        value => captured.push(value),
                    }
                }
                Ok(Value::Lambda(lambda, captured.into_bump_slice()))
            }
            Expression::Hole(what) => Err(Stop::Hole(what)),
        }
    }

    #[allow(clippy::type_complexity)]
    fn arguments(
        &mut self,
        arguments: &'e Arguments,
        frame: Frame<'_, 'e>,
    ) -> Done<'e, (&'e [Value<'e>], &'e [(&'e str, Value<'e>)])> {
        let positional = self.elements_of(&arguments.positional, frame)?;
        let mut named = ArenaVec::with_capacity_in(arguments.named.len(), self.arena);
        for (name, value) in &arguments.named {
            let value = self.evaluate(value, frame)?;
            named.push((&**name, value));
        }
        Ok((positional.into_bump_slice(), named.into_bump_slice()))
    }

    fn elements_of(
        &mut self,
        parts: &'e [Expression],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, ArenaVec<'e, Value<'e>>> {
        let mut items = ArenaVec::with_capacity_in(parts.len(), self.arena);
        for part in parts {
            if let Expression::Starred(many) = part {
                let many = self.evaluate(many, frame)?;
                items.extend_from_slice(self.ordered(&many)?);
            } else {
                items.push(self.evaluate(part, frame)?);
            }
        }
        Ok(items)
    }

    pub(super) fn new_set(&mut self, items: &[Value<'e>]) -> Done<'e> {
        let mut set: ArenaVec<'e, Value<'e>> = ArenaVec::with_capacity_in(items.len(), self.arena);
        self.step(items.len() * items.len() / 32)?;
        for item in items {
            if !item.hashable()? {
                return Err(raise("TypeError"));
            }
            let mut known = false;
            for other in &set {
                if other.equals(item)? {
                    known = true;
                    break;
                }
            }
            if !known {
                set.push(*item);
            }
        }
        Ok(Value::set(self.arena, set))
    }

    /// What a loop over a value gives, where Python's order is known.
    pub(super) fn ordered(&mut self, value: &Value<'e>) -> Done<'e, &'e [Value<'e>]> {
        if value.unordered() {
            return Err(Stop::Hole("the order of a set"));
        }
        self.any_order |= value.is_set() && value.length().is_some_and(|length| length > 1);
        self.unordered(value)
    }

    /// What a loop over a value gives, for what does not depend on the order.
    pub(super) fn unordered(&mut self, value: &Value<'e>) -> Done<'e, &'e [Value<'e>]> {
        match value.elements(self.arena)? {
            Some(elements) => {
                self.step(elements.len())?;
                Ok(elements)
            }
            None => match value {
                Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                    Err(raise("TypeError"))
                }
                _ => Err(Stop::Hole("a loop over an object")),
            },
        }
    }

    // Comprehensions.

    fn comprehension(
        &mut self,
        made: Made,
        of: &'e Comprehension,
        frame: Frame<'_, 'e>,
    ) -> Done<'e> {
        match made {
            Made::Any | Made::All => {
                let wanted = made == Made::Any;
                let found = self.each(of, 0, frame, wanted_order(made), &mut |run, frame| {
                    Ok(run.truth(&of.element, frame)? == wanted)
                })?;
                Ok(Value::Bool(found == wanted))
            }
            Made::First => {
                let mut first = None;
                self.each(of, 0, frame, true, &mut |run, frame| {
                    first = Some(run.evaluate(&of.element, frame)?);
                    Ok(true)
                })?;
                match (first, &of.default) {
                    (Some(value), _) => Ok(value),
                    (None, Some(default)) => self.evaluate(default, frame),
                    (None, None) => Err(raise("StopIteration")),
                }
            }
            Made::List | Made::Elements | Made::Set => {
                let mut items = ArenaVec::new_in(self.arena);
                self.each(of, 0, frame, wanted_order(made), &mut |run, frame| {
                    items.push(run.evaluate(&of.element, frame)?);
                    Ok(false)
                })?;
                match made {
                    Made::Set => self.new_set(&items),
                    Made::List => Ok(Value::list(self.arena, items)),
                    _ => Ok(Value::once(self.arena, items.into_bump_slice())),
                }
            }
            Made::Dict => {
                let dict = Value::dict(self.arena, ArenaVec::new_in(self.arena));
                self.each(of, 0, frame, true, &mut |run, frame| {
                    let key = run.evaluate(&of.element, frame)?;
                    let value = match &of.value {
                        Some(value) => run.evaluate(value, frame)?,
                        None => Value::None,
                    };
                    run.store(&dict, key, value)?;
                    Ok(false)
                })?;
                Ok(dict)
            }
        }
    }

    /// Runs the loops from this one on; `take` says whether it has seen enough.
    fn each(
        &mut self,
        of: &'e Comprehension,
        which: usize,
        frame: Frame<'_, 'e>,
        in_order: bool,
        take: &mut dyn FnMut(&mut Self, Frame<'_, 'e>) -> Done<'e, bool>,
    ) -> Done<'e, bool> {
        let Some(this) = of.loops.get(which) else {
            return take(self, frame);
        };
        let over = self.evaluate(&this.over, frame)?;
        let elements = if in_order {
            self.ordered(&over)?
        } else {
            self.unordered(&over)?
        };
        'elements: for element in elements {
            self.step(1)?;
            self.assign(&this.target, *element, frame)?;
            for test in &this.tests {
                if !self.truth(test, frame)? {
                    continue 'elements;
                }
            }
            if self.each(of, which + 1, frame, in_order, take)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    // Look-ups.

    /// `view.get(key, default)`.
    pub(super) fn get(&mut self, map: &'e Map<'e>, key: Value<'e>, default: Value<'e>) -> Done<'e> {
        let Value::Text(key) = key else {
            return Err(Stop::Hole("a key that is no text"));
        };
        match map.find(key) {
            crate::event::Found::Yes(node) => wrap(node),
            crate::event::Found::No => Ok(default),
            crate::event::Found::Unknown => Err(Stop::Hole("a key outside ASCII")),
        }
    }

    fn place(&self, place: i64, length: usize) -> Done<'e, usize> {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let at = if place < 0 { place + length } else { place };
        if (0..length).contains(&at) {
            usize::try_from(at).map_err(|_| raise("IndexError"))
        } else {
            Err(raise("IndexError"))
        }
    }

    /// `of[key]`.
    pub(super) fn subscript(&mut self, of: &Value<'e>, key: &Value<'e>) -> Done<'e> {
        match of {
            Value::View(map, _) => {
                let Value::Text(key) = key else {
                    return Err(Stop::Hole("a key that is no text"));
                };
                match map.find(key) {
                    crate::event::Found::Yes(node) => wrap(node),
                    crate::event::Found::No => Err(raise("KeyError")),
                    crate::event::Found::Unknown => Err(Stop::Hole("a key outside ASCII")),
                }
            }
            value if value.is_mapping() => {
                if !key.hashable()? {
                    return Err(raise("TypeError"));
                }
                lookup(of, key)?.ok_or(raise("KeyError"))
            }
            Value::Text(text) => match key {
                Value::Int(place) => {
                    let at = self.place(*place, of.length().unwrap_or(0))?;
                    Ok(Value::Text(text::characters(text, at, at + 1)))
                }
                _ => Err(raise("TypeError")),
            },
            Value::ListView(_) | Value::List(_) | Value::Tuple(_) | Value::Frozen(_)
                if !of.is_set() =>
            {
                match key {
                    Value::Int(place) => {
                        let at = self.place(*place, of.length().unwrap_or(0))?;
                        item(of, at)
                    }
                    Value::Text(_) | Value::None => Err(raise("TypeError")),
                    _ => Err(Stop::Hole("an index of another sort")),
                }
            }
            Value::Match(found) => match key {
                Value::Int(_) | Value::Text(_) => self.group(found, key),
                _ => Err(Stop::Hole("a group of another sort")),
            },
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Set(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole("an element of an object")),
        }
    }

    fn slice(&mut self, of: &Value<'e>, bounds: [Option<i64>; 3]) -> Done<'e> {
        let [from, to, step] = bounds;
        let Some(length) = of.length().filter(|_| !of.is_mapping() && !of.is_set()) else {
            return match of {
                Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                    Err(raise("TypeError"))
                }
                _ => Err(Stop::Hole("a slice of an object")),
            };
        };
        let whole = i64::try_from(length).unwrap_or(i64::MAX);
        let bound = |value: Option<i64>, default: i64| {
            let value = value.unwrap_or(default);
            let value = if value < 0 { value + whole } else { value };
            usize::try_from(value.clamp(0, whole)).unwrap_or(0)
        };
        match step {
            None | Some(1) => {}
            Some(-1) if from.is_none() && to.is_none() => {
                if let Value::Text(text) = of {
                    let reversed: String = text.chars().rev().collect();
                    return Ok(Value::Text(self.arena.alloc_str(&reversed)));
                }
                return Err(Stop::Hole("a slice with a step"));
            }
            _ => return Err(Stop::Hole("a slice with a step")),
        }
        let (from, to) = (bound(from, 0), bound(to, whole));
        let to = to.max(from);
        match of {
            Value::Text(text) => Ok(Value::Text(text::characters(text, from, to))),
            Value::ListView(nodes) => {
                let mut items = ArenaVec::new_in(self.arena);
                for node in &nodes[from..to] {
                    items.push(super::value::plain(self.arena, *node)?);
                }
                Ok(Value::Tuple(items.into_bump_slice()))
            }
            _ => {
                let mut items = ArenaVec::with_capacity_in(to - from, self.arena);
                for at in from..to {
                    items.push(item(of, at)?);
                }
                Ok(if of.is_list() {
                    Value::list(self.arena, items)
                } else {
                    Value::Tuple(items.into_bump_slice())
                })
            }
        }
    }

    // Operators.

    pub(super) fn compare(
        &mut self,
        comparison: Comparison,
        left: &Value<'e>,
        right: &Value<'e>,
    ) -> Done<'e, bool> {
        use std::cmp::Ordering;
        match comparison {
            Comparison::Equal => left.equals(right),
            Comparison::Unequal => left.equals(right).map(|equal| !equal),
            Comparison::Is => left.is(right).ok_or(Stop::Hole("identity of objects")),
            Comparison::IsNot => left
                .is(right)
                .map(|same| !same)
                .ok_or(Stop::Hole("identity of objects")),
            Comparison::In => self.contains(right, left),
            Comparison::NotIn => self.contains(right, left).map(|there| !there),
            Comparison::Less => Ok(self.order(left, right)? == Some(Ordering::Less)),
            Comparison::LessOrEqual => Ok(matches!(
                self.order(left, right)?,
                Some(Ordering::Less | Ordering::Equal)
            )),
            Comparison::Greater => Ok(self.order(left, right)? == Some(Ordering::Greater)),
            Comparison::GreaterOrEqual => Ok(matches!(
                self.order(left, right)?,
                Some(Ordering::Greater | Ordering::Equal)
            )),
        }
    }

    /// Which comes first; others raise `TypeError`.
    pub(super) fn order(
        &mut self,
        left: &Value<'e>,
        right: &Value<'e>,
    ) -> Done<'e, Option<std::cmp::Ordering>> {
        if let (Some(one), Some(two)) = (left.number(), right.number()) {
            return one.compare(two);
        }
        match (left, right) {
            (Value::Text(one), Value::Text(two)) => Ok(Some(one.cmp(two))),
            (
                Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_),
                Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_),
            ) => Err(raise("TypeError")),
            _ if (left.is_list() && right.is_list()) || (left.is_tuple() && right.is_tuple()) => {
                let (one, two) = (self.ordered(left)?, self.ordered(right)?);
                for (a, b) in one.iter().zip(two) {
                    if !a.equals(b)? {
                        return self.order(a, b);
                    }
                }
                Ok(Some(one.len().cmp(&two.len())))
            }
            _ => Err(Stop::Hole("an order of objects")),
        }
    }

    /// `wanted in of`.
    fn contains(&mut self, of: &Value<'e>, wanted: &Value<'e>) -> Done<'e, bool> {
        match of {
            Value::View(map, _) => {
                let Value::Text(key) = wanted else {
                    return Err(Stop::Hole("a key that is no text"));
                };
                match map.find(key) {
                    crate::event::Found::Yes(_) => Ok(true),
                    crate::event::Found::No => Ok(false),
                    crate::event::Found::Unknown => Err(Stop::Hole("a key outside ASCII")),
                }
            }
            Value::Text(text) => match wanted {
                Value::Text(part) => Ok(text.contains(part)),
                _ => Err(raise("TypeError")),
            },
            value if value.is_mapping() => {
                if !wanted.hashable()? {
                    return Err(raise("TypeError"));
                }
                Ok(lookup(of, wanted)?.is_some())
            }
            value if value.is_set() => {
                if !wanted.hashable()? {
                    return Err(raise("TypeError"));
                }
                contains_item(of, wanted)
            }
            Value::ListView(_) | Value::List(_) | Value::Tuple(_) | Value::Frozen(_) => {
                self.step(of.length().unwrap_or(0) / 8)?;
                contains_item(of, wanted)
            }
            Value::Iterable(items, None) => {
                for item in *items {
                    if item.equals(wanted)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Network(network) => match wanted {
                Value::Address(address) => Ok(network.contains(*address)),
                _ => Err(Stop::Hole("something else in a network")),
            },
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole("something in an object")),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn binary(
        &mut self,
        operator: Operator,
        left: Value<'e>,
        right: Value<'e>,
    ) -> Done<'e> {
        if let (Some(one), Some(two)) = (left.number(), right.number()) {
            return arithmetic(operator, one, two);
        }
        match (operator, left, right) {
            (Operator::Add, Value::Text(one), Value::Text(two)) => {
                if one.len() + two.len() > LONGEST_TEXT {
                    return Err(Stop::Hole("a very long text"));
                }
                let mut text = bumpalo::collections::String::with_capacity_in(
                    one.len() + two.len(),
                    self.arena,
                );
                text.push_str(one);
                text.push_str(two);
                Ok(Value::Text(text.into_bump_str()))
            }
            (Operator::Add, one, two) if one.is_list() && two.is_list() => {
                let mut items = ArenaVec::new_in(self.arena);
                items.extend_from_slice(self.ordered(&one)?);
                items.extend_from_slice(self.ordered(&two)?);
                Ok(Value::list(self.arena, items))
            }
            (Operator::Add, one, two) if one.is_tuple() && two.is_tuple() => {
                let mut items = ArenaVec::new_in(self.arena);
                items.extend_from_slice(self.ordered(&one)?);
                items.extend_from_slice(self.ordered(&two)?);
                Ok(Value::Tuple(items.into_bump_slice()))
            }
            (
                Operator::Add,
                Value::None | Value::Text(_) | Value::Int(_) | Value::Bool(_) | Value::Float(_),
                Value::None | Value::Text(_) | Value::Int(_) | Value::Bool(_) | Value::Float(_),
            ) => Err(raise("TypeError")),
            (
                Operator::Or,
                Value::Dict(_) | Value::Frozen(_),
                Value::Dict(_) | Value::Frozen(_),
            ) if left.is_mapping() && right.is_mapping() => {
                let dict = Value::dict(self.arena, ArenaVec::new_in(self.arena));
                for side in [left, right] {
                    for (key, value) in side.pairs(self.arena)?.unwrap_or(&[]) {
                        self.store(&dict, *key, *value)?;
                    }
                }
                Ok(dict)
            }
            (Operator::And | Operator::Or | Operator::Subtract | Operator::Xor, one, two)
                if one.is_set() && two.is_set() =>
            {
                self.sets(operator, &one, &two)
            }
            _ => Err(Stop::Hole("an operator")),
        }
    }

    pub(super) fn sets(
        &mut self,
        operator: Operator,
        one: &Value<'e>,
        two: &Value<'e>,
    ) -> Done<'e> {
        let (first, second) = (self.unordered(one)?, self.unordered(two)?);
        self.step(first.len() * second.len() / 32)?;
        let mut items = ArenaVec::new_in(self.arena);
        for item in first {
            let both = contains_item(two, item)?;
            if match operator {
                Operator::And => both,
                Operator::Or => true,
                _ => !both,
            } {
                items.push(*item);
            }
        }
        if matches!(operator, Operator::Or | Operator::Xor) {
            for item in second {
                if !contains_item(one, item)? {
                    items.push(*item);
                }
            }
        }
        Ok(Value::set(self.arena, items))
    }
}

/// What a name holds that only an earlier event can have given its value.
pub(super) const STALE: &str = "state of an earlier event";

/// The key-value store, where it may not be asked.
pub(super) const STORE: &str = "the key-value store";

/// A container of the pack that a function would change for all events to come.
pub(super) const CHANGED: &str = "a constant that is changed in place";

/// Whether elements are wanted in Python's own order. A set may be gone through in any for what is the same in each.
fn wanted_order(made: Made) -> bool {
    !matches!(made, Made::Any | Made::All | Made::Set)
}

fn takes<'e>(class: &Value<'e>, raised: &Raised<'e>, arena: &'e Bump) -> Done<'e, bool> {
    match class {
        Value::ErrorClass(classes) => Ok(raised.classes.include(classes.name())),
        value if value.is_tuple() => {
            for one in value.elements(arena)?.unwrap_or(&[]) {
                if takes(one, raised, arena)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(Stop::Hole("an exception of another sort")),
    }
}

/// `a // b` of floats, by the steps of Python.
fn floor_divided(a: f64, b: f64) -> f64 {
    let rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != 0.0 && (b < 0.0) != (rest < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return 0.0_f64.copysign(a / b);
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 {
        floor + 1.0
    } else {
        floor
    }
}

fn arithmetic<'e>(operator: Operator, one: Number, two: Number) -> Done<'e> {
    let big = Stop::Hole("a big integer");
    if let (Number::Int(a), Number::Int(b)) = (one, two) {
        return match operator {
            Operator::Add => a.checked_add(b).map(Value::Int).ok_or(big),
            Operator::Subtract => a.checked_sub(b).map(Value::Int).ok_or(big),
            Operator::Multiply => a.checked_mul(b).map(Value::Int).ok_or(big),
            Operator::FloorDivide | Operator::Modulo | Operator::Divide if b == 0 => {
                Err(raise("ZeroDivisionError"))
            }
            Operator::FloorDivide => {
                let quotient = a.checked_div(b).ok_or(big)?;
                let floor = i64::from(a % b != 0 && (a < 0) != (b < 0));
                Ok(Value::Int(quotient - floor))
            }
            Operator::Modulo => {
                let rest = a.checked_rem(b).ok_or(big)?;
                Ok(Value::Int(if rest != 0 && (rest < 0) != (b < 0) {
                    rest + b
                } else {
                    rest
                }))
            }
            Operator::Divide => Ok(Value::Float(one.float()? / two.float()?)),
            _ => Err(Stop::Hole("an operator on integers")),
        };
    }
    let (a, b) = (one.float()?, two.float()?);
    let value = match operator {
        Operator::FloorDivide if b == 0.0 => return Err(raise("ZeroDivisionError")),
        Operator::FloorDivide => floor_divided(a, b),
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide if b == 0.0 => return Err(raise("ZeroDivisionError")),
        Operator::Divide => a / b,
        _ => return Err(Stop::Hole("an operator on floats")),
    };
    if value.is_finite() {
        Ok(Value::Float(value))
    } else {
        Err(Stop::Hole("a float that is not finite"))
    }
}
