//! Expressions and comprehensions.

use std::sync::atomic::Ordering;

use bumpalo::collections::Vec as ArenaVec;

use super::format::write_formatted;
use super::methods::Named;
use super::names::Method;
use super::number::Number;
use super::program::{Arguments, Comprehension, Expression, Made, Part};
use super::run::{Frame, LONGEST_TEXT, Run, STALE};
use super::stop::{Stop, raise};
use super::text;
use super::value::{Closure, Done, Elements, Value};

impl<'e> Run<'e> {
    pub(super) fn truth(
        &mut self,
        expression: &'e Expression,
        frame: Frame<'_, 'e>,
    ) -> Done<'e, bool> {
        self.evaluate(expression, frame)?.truthy()
    }

    pub(super) fn local(&self, value: Value<'e>) -> Done<'e> {
        match value {
            Value::Unbound => Err(raise("UnboundLocalError")),
            value => Ok(value),
        }
    }

    /// A global that functions write: what this evaluation has written, or what was loaded, if nothing was written ever since.
    pub(super) fn global(&mut self, slot: usize) -> Done<'e> {
        match (self.written[slot], self.program.written.get(slot)) {
            (Value::Unbound, Some(of)) if !of.since.load(Ordering::Relaxed) => {
                self.as_loaded.push(slot);
                of.loaded.value()
            }
            (Value::Unbound, _) => Err(Stop::Hole(&STALE)),
            (value, _) => Ok(value),
        }
    }

    /// Writes such a global. Whoever has read before what was loaded would read this for the next event.
    pub(super) fn write_global(&mut self, slot: usize, value: Value<'e>) -> Done<'e, ()> {
        if self.as_loaded.contains(&slot) {
            return Err(Stop::Hole(&STALE));
        }
        self.program.is_written(slot);
        self.written[slot] = value;
        self.wrote = true;
        Ok(())
    }

    /// The value of an expression. That of a local name costs no call.
    #[inline]
    pub(super) fn evaluate(
        &mut self,
        expression: &'e Expression,
        frame: Frame<'_, 'e>,
    ) -> Done<'e> {
        match expression {
            Expression::Local(slot) if !matches!(frame[*slot], Value::Unbound) => Ok(frame[*slot]),
            expression => self.evaluate_further(expression, frame),
        }
    }

    #[inline(never)]
    fn evaluate_further(&mut self, expression: &'e Expression, frame: Frame<'_, 'e>) -> Done<'e> {
        match expression {
            // They lead no further.
            Expression::Constant(constant) => constant.value(),
            Expression::Local(slot) => self.local(frame[*slot]),
            expression => {
                self.nest()?;
                let value = self.nested(expression, frame);
                self.leave();
                if value.is_err() {
                    self.trail.leaves(expression);
                }
                value
            }
        }
    }

    #[inline(never)]
    #[allow(clippy::too_many_lines)]
    fn nested(&mut self, expression: &'e Expression, frame: Frame<'_, 'e>) -> Done<'e> {
        match expression {
            Expression::Constant(_) | Expression::Local(_) => self.evaluate(expression, frame),
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
                    .ok_or(Stop::Hole(&"a big integer")),
                Some(Number::Float(value)) => Ok(Value::Float(-value)),
                None => Err(Stop::Hole(&"a sign")),
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
                    let compared = self.compare(*comparison, &left, &right);
                    holds = self.refused(compared, &[&left, &right])?;
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
                let made = self.binary(*operator, left, right);
                self.refused(made, &[&left, &right])
            }
            Expression::Call(callee, arguments) => {
                let callee = self.evaluate(callee, frame)?;
                self.with_arguments(arguments, frame, |run, positional, named| {
                    run.call(callee, positional, named)
                })
            }
            Expression::Method(of, method, arguments) => {
                let of = self.evaluate(of, frame)?;
                if matches!(
                    of,
                    Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_)
                ) {
                    return Err(self.refuse_attribute(&of, method.text()));
                }
                // What is called most goes the shortest way.
                if let Some(one) = arguments.only() {
                    match (*method, of) {
                        (Method::Get, Value::View(map, _)) => {
                            let key = self.evaluate(one, frame)?;
                            return self.get(map, key, Value::None);
                        }
                        (Method::Append, Value::List(items)) => {
                            let value = self.evaluate(one, frame)?;
                            items.borrow_mut().push(value);
                            return Ok(Value::None);
                        }
                        (Method::Add, Value::Set(elements)) => {
                            let value = self.evaluate(one, frame)?;
                            return self.add(elements, value);
                        }
                        _ => {}
                    }
                }
                self.with_arguments(arguments, frame, |run, positional, named| {
                    run.method(of, *method, positional, named)
                })
            }
            Expression::OwnMethod(of, name, arguments) => {
                let of = self.evaluate(of, frame)?;
                let Value::Instance(instance) = of else {
                    return Err(Stop::NoForm(name));
                };
                self.with_arguments(arguments, frame, |run, positional, named| {
                    run.own_method(instance, name, positional, named)
                })
            }
            Expression::Attribute(of, name) => match self.evaluate(of, frame)? {
                Value::Instance(instance) => self.own_attribute(instance, name),
                of => self.attribute(&of, name),
            },
            Expression::Item(parts) => {
                let [of, key] = &**parts;
                let of = self.evaluate(of, frame)?;
                let written = matches!(key, Expression::Constant(_));
                let key = self.evaluate(key, frame)?;
                let found = self.subscript(&of, &key);
                self.refused_key(found, &of, &key, written)
            }
            Expression::Slice(of, bounds) => {
                let of = self.evaluate(of, frame)?;
                let mut values = [None; 3];
                for (value, bound) in values.iter_mut().zip(bounds.iter()) {
                    if let Some(bound) = bound {
                        *value = match self.evaluate(bound, frame)? {
                            Value::None => None,
                            Value::Int(place) => Some(place),
                            _ => return Err(Stop::Hole(&"a slice by something else")),
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
            Expression::Starred(_) => Err(Stop::Hole(&"a starred expression")),
            Expression::Comprehension(made, of) => self.comprehension(*made, of, frame),
            Expression::Text(parts) => self.text(|run, out| {
                for part in parts {
                    match part {
                        Part::Text(text) => out.push_str(text),
                        Part::Value(value) => {
                            let value = run.evaluate(value, frame)?;
                            text::write_str(out, &value)?;
                        }
                        Part::Formatted(value, format) => {
                            let value = run.evaluate(value, frame)?;
                            write_formatted(out, &value, format)?;
                        }
                        Part::Repr(value) => {
                            let value = run.evaluate(value, frame)?;
                            text::write_repr(out, &value)?;
                        }
                    }
                    if out.len() > LONGEST_TEXT {
                        return Err(Stop::Hole(&"a very long text"));
                    }
                }
                Ok(())
            }),
            Expression::Walrus(slot, value) => {
                let value = self.evaluate(value, frame)?;
                frame[*slot] = value;
                Ok(value)
            }
            Expression::Lambda(lambda) => {
                let mut captured = ArenaVec::with_capacity_in(lambda.captured.len(), self.arena);
                for (outer, _) in &lambda.captured {
                    match frame[*outer] {
                        Value::Unbound => return Err(Stop::Hole(&"a name that is captured early")),
                        value => captured.push(value),
                    }
                }
                let captured = captured.into_bump_slice();
                Ok(Value::Lambda(
                    self.arena.alloc(Closure { lambda, captured }),
                ))
            }
            Expression::Hole(what) => Err(Stop::NoForm(what)),
        }
    }

    /// Evaluates arguments and hands them to `take`. Most calls have few: those lie on the stack and take nothing of the arena.
    fn with_arguments(
        &mut self,
        arguments: &'e Arguments,
        frame: Frame<'_, 'e>,
        take: impl FnOnce(&mut Self, &[Value<'e>], Named<'_, 'e>) -> Done<'e>,
    ) -> Done<'e> {
        let starred = |part: &Expression| matches!(part, Expression::Starred(_));
        match arguments.positional.as_slice() {
            [] if arguments.named.is_empty() => take(self, &[], &[]),
            [one] if arguments.named.is_empty() && !starred(one) => {
                let one = self.evaluate(one, frame)?;
                take(self, &[one], &[])
            }
            [one, two] if arguments.named.is_empty() && !starred(one) && !starred(two) => {
                let both = [self.evaluate(one, frame)?, self.evaluate(two, frame)?];
                take(self, &both, &[])
            }
            _ => self.with_many_arguments(arguments, frame, take),
        }
    }

    fn with_many_arguments(
        &mut self,
        arguments: &'e Arguments,
        frame: Frame<'_, 'e>,
        take: impl FnOnce(&mut Self, &[Value<'e>], Named<'_, 'e>) -> Done<'e>,
    ) -> Done<'e> {
        let positional = self.elements_of(&arguments.positional, frame)?;
        let mut named = ArenaVec::with_capacity_in(arguments.named.len(), self.arena);
        for (name, value) in &arguments.named {
            let value = self.evaluate(value, frame)?;
            named.push((&**name, value));
        }
        take(self, &positional, &named)
    }

    pub(super) fn elements_of(
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
        let set = Elements::new(self.arena);
        for item in items {
            if !item.hashable()? {
                return Err(raise("TypeError"));
            }
            self.step(set.looks(item) / 32)?;
            set.insert(*item)?;
        }
        Ok(Value::Set(self.arena.alloc(set)))
    }

    /// What a loop over a value gives, where Python's order is known.
    pub(super) fn ordered(&mut self, value: &Value<'e>) -> Done<'e, &'e [Value<'e>]> {
        if value.unordered() {
            return Err(Stop::Hole(&"the order of a set"));
        }
        self.loose |= value.is_set() && value.length().is_some_and(|length| length > 1);
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
                    Err(self.refuse("TypeError", &[value]))
                }
                _ => Err(Stop::Hole(&"a loop over an object")),
            },
        }
    }

    // Comprehensions.

    pub(super) fn comprehension(
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
    pub(super) fn each(
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
        let mut walk = self.looped(&over, in_order)?;
        'elements: while let Some(element) = walk.next()? {
            self.step(1)?;
            self.assign(&this.target, element, frame)?;
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
}

/// Whether elements are wanted in Python's own order. A set may be gone through in any for what is the same in each.
fn wanted_order(made: Made) -> bool {
    !matches!(made, Made::Any | Made::All | Made::Set)
}
