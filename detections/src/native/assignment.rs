//! Assignments: to names, elements, attributes, several at once, and what changes a value in place.

use bumpalo::collections::Vec as ArenaVec;

use super::program::{Expression, Operator, Target};
use super::run::{CHANGED, Frame, Run};
use super::stop::{Stop, raise};
use super::value::{Done, Value};

impl<'e> Run<'e> {
    /// Gives a target its value. A local name costs no call.
    #[inline]
    pub(super) fn assign(
        &mut self,
        target: &'e Target,
        value: Value<'e>,
        frame: Frame<'_, 'e>,
    ) -> Done<'e, ()> {
        if let Target::Local(slot) = target {
            frame[*slot] = value;
            return Ok(());
        }
        self.assign_further(target, value, frame)
    }

    #[inline(never)]
    fn assign_further(
        &mut self,
        target: &'e Target,
        value: Value<'e>,
        frame: Frame<'_, 'e>,
    ) -> Done<'e, ()> {
        match target {
            Target::Local(slot) => frame[*slot] = value,
            Target::Written(slot) => self.write_global(*slot, value)?,
            Target::Item(of, key) => {
                let of = self.evaluate(of, frame)?;
                let key = self.evaluate(key, frame)?;
                self.store(&of, key, value)?;
            }
            Target::Attribute(of, name) => match self.evaluate(of, frame)? {
                Value::Instance(instance) => instance.set(name, value)?,
                _ => return Err(Stop::Hole(&"an attribute that is set")),
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
            Target::Hole(what) => return Err(Stop::NoForm(what)),
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
                _ => Err(Stop::Hole(&"an assignment to a slice")),
            },
            Value::View(..) | Value::ListView(_) | Value::None | Value::Text(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole(&CHANGED)),
        }
    }

    pub(super) fn augment(
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
                _ => return Err(Stop::Hole(&"an attribute that is set")),
            },
            Target::Several(..) => return Err(Stop::Hole(&"several targets")),
            Target::Hole(what) => return Err(Stop::NoForm(what)),
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
                Err(Stop::Hole(&CHANGED))
            }
            _ => self.binary(operator, current, value),
        }
    }
}
