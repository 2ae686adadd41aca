//! Comparisons, `in`, and arithmetic.

use bumpalo::collections::Vec as ArenaVec;

use super::equality::{contains_item, looks, lookup};
use super::number::Number;
use super::program::{Comparison, Operator};
use super::run::{LONGEST_TEXT, Run};
use super::stop::{Stop, raise};
use super::times;
use super::value::{Done, Elements, Value};
use crate::event::Found;

impl<'e> Run<'e> {
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
            Comparison::Is => left.is(right).ok_or(Stop::Hole(&"identity of objects")),
            Comparison::IsNot => left
                .is(right)
                .map(|same| !same)
                .ok_or(Stop::Hole(&"identity of objects")),
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
            (Value::Moment(_) | Value::Span(_), _) => times::order(left, right),
            _ => Err(Stop::Hole(&"an order of objects")),
        }
    }

    /// `wanted in of`.
    pub(super) fn contains(&mut self, of: &Value<'e>, wanted: &Value<'e>) -> Done<'e, bool> {
        match of {
            Value::View(map, _) => {
                let Value::Text(key) = wanted else {
                    return Err(Stop::Hole(&"a key that is no text"));
                };
                match map.find(key) {
                    Found::Yes(_) => Ok(true),
                    Found::No => Ok(false),
                    Found::Unknown => Err(Stop::Hole(&"a key outside ASCII")),
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
            Value::Iterable(items) => {
                // Keys are looked up and values are compared; here they look alike.
                if !wanted.hashable()? {
                    return Err(Stop::Hole(&"what has no hash, in a view of a mapping"));
                }
                for item in *items {
                    if item.equals(wanted)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Network(network) => match wanted {
                Value::Address(address) => Ok(network.contains(**address)),
                _ => Err(Stop::Hole(&"something else in a network")),
            },
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole(&"something in an object")),
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
                    return Err(Stop::Hole(&"a very long text"));
                }
                self.text(|_, out| {
                    out.push_str(one);
                    out.push_str(two);
                    Ok(())
                })
            }
            (Operator::Add, one, two) if one.is_list() && two.is_list() => {
                let mut items = ArenaVec::new_in(self.arena);
                items.extend_from_slice(self.ordered(&one)?);
                items.extend_from_slice(self.ordered(&two)?);
                Ok(Value::list(self.arena, items))
            }
            (Operator::Multiply, Value::Text(text), Value::Int(times)) => {
                let times = usize::try_from(times).unwrap_or(0);
                if text.len().saturating_mul(times) > LONGEST_TEXT {
                    return Err(Stop::Hole(&"a very long text"));
                }
                Ok(Value::Text(self.arena.alloc_str(&text.repeat(times))))
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
            (_, Value::Moment(_) | Value::Span(_), _)
            | (_, _, Value::Moment(_) | Value::Span(_)) => times::binary(operator, &left, &right),
            _ => Err(Stop::Hole(&"an operator")),
        }
    }

    pub(super) fn sets(
        &mut self,
        operator: Operator,
        one: &Value<'e>,
        two: &Value<'e>,
    ) -> Done<'e> {
        let (first, second) = (self.unordered(one)?, self.unordered(two)?);
        let set = Elements::new(self.arena);
        for item in first {
            self.step((looks(two, item) + set.looks(item)) / 32)?;
            let both = contains_item(two, item)?;
            if match operator {
                Operator::And => both,
                Operator::Or => true,
                _ => !both,
            } {
                set.insert(*item)?;
            }
        }
        if matches!(operator, Operator::Or | Operator::Xor) {
            for item in second {
                self.step((looks(one, item) + set.looks(item)) / 32)?;
                if !contains_item(one, item)? {
                    set.insert(*item)?;
                }
            }
        }
        Ok(Value::Set(self.arena.alloc(set)))
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
    let big = Stop::Hole(&"a big integer");
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
            _ => Err(Stop::Hole(&"an operator on integers")),
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
        Operator::Power if b >= 0.0 && b.fract() == 0.0 => a.powf(b),
        _ => return Err(Stop::Hole(&"an operator on floats")),
    };
    if value.is_finite() {
        Ok(Value::Float(value))
    } else {
        Err(Stop::Hole(&"a float that is not finite"))
    }
}
