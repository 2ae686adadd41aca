//! Strings with values in them.

use ruff_python_ast::{self as ast, FStringPart, InterpolatedStringElement};
use serde_json::Value as Json;

use super::expressions::{constant, expression, string};
use super::{REPLACED, Read, TooDeep, deeper, node, text};

/// An f-string, with the plain strings that stand beside it.
pub(super) fn formatted(of: &ast::ExprFString, depth: u32) -> Read {
    let mut parts = Parts::default();
    for part in of.value.as_slice() {
        match part {
            FStringPart::Literal(literal) => parts.literal.push_str(literal),
            FStringPart::FString(of) => parts.take(&of.elements, depth)?,
        }
    }
    parts.joined()
}

/// The parts of an f-string: what is written between two values is one.
#[derive(Default)]
struct Parts {
    parts: Vec<Json>,
    literal: String,
    replaced: bool,
}

impl Parts {
    fn take(&mut self, elements: &[InterpolatedStringElement], depth: u32) -> Result<(), TooDeep> {
        for element in elements {
            match element {
                InterpolatedStringElement::Literal(literal) => self.literal.push_str(literal),
                InterpolatedStringElement::Interpolation(of) => {
                    if let Some(written) = &of.debug_text {
                        self.literal.push_str(written.as_str());
                    }
                    self.end_literal()?;
                    self.parts.push(value(of, depth)?);
                }
            }
        }
        Ok(())
    }

    fn end_literal(&mut self) -> Result<(), TooDeep> {
        let literal = std::mem::take(&mut self.literal);
        self.replaced |= literal.contains(REPLACED);
        if !literal.is_empty() {
            self.parts.push(constant(string(&literal))?);
        }
        Ok(())
    }

    fn joined(mut self) -> Read {
        self.end_literal()?;
        if self.replaced {
            // No class of Python's, and so not compiled.
            return Ok(text("half a character in an f-string"));
        }
        node("JoinedStr", [Json::Array(self.parts)])
    }
}

fn value(of: &ast::InterpolatedElement, depth: u32) -> Read {
    let depth = deeper(depth)?;
    let format = match &of.format_spec {
        Some(format) => {
            let mut parts = Parts::default();
            parts.take(&format.elements, depth)?;
            parts.joined()?
        }
        None => Json::Null,
    };
    let conversion = match of.conversion {
        // `{value=}` shows what `repr` gives, unless it says otherwise.
        ast::ConversionFlag::None if of.debug_text.is_some() && format.is_null() => b'r' as i8,
        other => other as i8,
    };
    let value = expression(&of.expression, depth)?;
    node("FormattedValue", [value, Json::from(conversion), format])
}
