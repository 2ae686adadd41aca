//! The way of an exception out of a rule, by which it is known again.

use super::program::Expression;
use super::stop::Raised;

/// Classes whose texts name kinds, and a key that is written in the code.
pub(super) const PLAIN: &[&str] = &["AttributeError", "TypeError", "IndexError", "KeyError"];

/// A place in the code, by the expressions around it up to the call of the rule, and the kinds of the operands that were refused there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Site(Box<[usize]>);

/// The way of the exception that is on its way out.
#[derive(Debug, Default)]
pub(super) struct Trail {
    places: Vec<usize>,
    /// Kinds of the refused operands, if its text hangs on nothing but them.
    operands: Option<u32>,
    /// Handlers that are at work: what is raised inside tells of what they handle, too.
    pub(super) handling: u32,
}

impl Trail {
    /// Nothing is on its way.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.operands = None;
    }

    /// What stopped the evaluation has left an expression. The way is needed for exceptions only.
    #[cold]
    pub(super) fn leaves(&mut self, expression: &Expression) {
        self.places.push(std::ptr::from_ref(expression) as usize);
    }

    /// Where the exception that left the rule came from, if that tells its text.
    pub(super) fn site(&self, raised: &Raised<'_>) -> Option<Site> {
        let operands = self
            .operands
            .filter(|_| PLAIN.contains(&raised.classes.name()))?;
        let mut places = self.places.clone();
        places.push(operands as usize);
        Some(Site(places.into()))
    }

    pub(super) fn begin(&mut self, operands: Option<u32>) {
        self.places.clear();
        self.operands = operands.filter(|_| self.handling == 0);
    }
}
