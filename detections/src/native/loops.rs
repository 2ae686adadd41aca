//! Loops over values, element by element.

use super::program::{Expression, Statement, Target};
use super::run::{Flow, Frame, Run};
use super::stop::Stop;
use super::value::{Done, Items, LONGEST, Value};

/// What a loop has yet to go through.
#[derive(Debug)]
pub(super) enum Walk<'e> {
    List {
        items: &'e Items<'e>,
        /// How many elements it had when the loop began.
        length: usize,
        next: usize,
    },
    Letters(&'e str),
    Elements(std::slice::Iter<'e, Value<'e>>),
}

impl<'e> Walk<'e> {
    #[inline]
    pub(super) fn next(&mut self) -> Done<'e, Option<Value<'e>>> {
        match self {
            Self::List {
                items,
                length,
                next,
            } => {
                let items = items.borrow();
                if items.len() != *length {
                    return Err(Stop::Hole(&"a list changed while it is gone through"));
                }
                *next += 1;
                Ok(items.get(*next - 1).copied())
            }
            Self::Letters(text) => {
                let Some(letter) = text.chars().next() else {
                    return Ok(None);
                };
                let (letter, rest) = text.split_at(letter.len_utf8());
                *text = rest;
                Ok(Some(Value::Text(letter)))
            }
            Self::Elements(elements) => Ok(elements.next().copied()),
        }
    }
}

impl<'e> Run<'e> {
    /// What a loop over a value goes through, where Python's order is known or does not matter. Lists and texts are not copied for it.
    pub(super) fn looped(&mut self, value: &Value<'e>, in_order: bool) -> Done<'e, Walk<'e>> {
        match value {
            Value::List(items) if items.borrow().len() <= LONGEST => {
                let length = items.borrow().len();
                self.step(length)?;
                Ok(Walk::List {
                    items,
                    length,
                    next: 0,
                })
            }
            Value::Text(text) if text.len() <= LONGEST => {
                self.step(text.len())?;
                Ok(Walk::Letters(text))
            }
            value if in_order => Ok(Walk::Elements(self.ordered(value)?.iter())),
            value => Ok(Walk::Elements(self.unordered(value)?.iter())),
        }
    }

    pub(super) fn for_loop(
        &mut self,
        target: &'e Target,
        over: &'e Expression,
        body: &'e [Statement],
        otherwise: &'e [Statement],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, Flow<'e>> {
        let over = self.evaluate(over, frame)?;
        let mut walk = self.looped(&over, true)?;
        // The elements of these were copied when the loop began; a list is watched where it is gone through.
        let length = || match over {
            Value::Dict(_) | Value::Ordered(_) | Value::Set(_) => over.length(),
            _ => None,
        };
        let begun = length();
        while let Some(element) = walk.next()? {
            self.step(1)?;
            self.assign(target, element, frame)?;
            match self.block(body, frame)? {
                Flow::On | Flow::Continue => {}
                Flow::Break => return Ok(Flow::On),
                returned => return Ok(returned),
            }
            if length() != begun {
                return Err(Stop::Hole(&"a container changed while it is gone through"));
            }
        }
        self.block(otherwise, frame)
    }
}
