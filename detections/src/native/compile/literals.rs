//! Constants as they are written, and the pieces of f-strings.

use ruff_python_ast::{
    Expr, ExprFString, ExprStringLiteral, FStringPart, InterpolatedElement,
    InterpolatedStringElement, InterpolatedStringFormatSpec, Number,
};

use crate::native::constants::Constant;

/// What the parser makes of half a character. Rust's texts have none, so what is written in code with one is for Python.
const REPLACED: char = '\u{fffd}';

/// A constant, if an expression is one.
pub(super) fn literal(expression: &Expr) -> Option<Constant> {
    let unknown = |what: &str| Constant::Unknown(what.into());
    Some(match expression {
        Expr::NoneLiteral(_) => Constant::None,
        Expr::BooleanLiteral(of) => Constant::Bool(of.value),
        Expr::StringLiteral(of) => {
            text_of(of).map_or_else(|| unknown("constant"), |text| Constant::Text(text.into()))
        }
        Expr::NumberLiteral(of) => match &of.value {
            Number::Int(value) => value
                .as_i64()
                .map_or_else(|| unknown("constant"), Constant::Int),
            Number::Float(value) => Constant::Float(*value),
            Number::Complex { .. } => unknown("complex"),
        },
        Expr::BytesLiteral(_) => unknown("bytes"),
        Expr::EllipsisLiteral(_) => unknown("ellipsis"),
        _ => return None,
    })
}

/// The text of a literal; `None` if it has half a character.
pub(super) fn text_of(of: &ExprStringLiteral) -> Option<&str> {
    Some(of.value.to_str()).filter(|text| !text.contains(REPLACED))
}

/// A piece of an f-string.
pub(super) enum Piece<'d> {
    /// What is written between two values; never empty.
    Text(String),
    Value(&'d InterpolatedElement),
}

/// The pieces of an f-string, with the plain strings that stand beside it; `None` if it has half a character.
pub(super) fn pieces(of: &ExprFString) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Pieces::default();
    for part in of.value.as_slice() {
        match part {
            FStringPart::Literal(literal) => pieces.text.push_str(literal),
            FStringPart::FString(of) => pieces.take(&of.elements),
        }
    }
    pieces.end()
}

/// A format without values in it.
pub(super) fn plain_format(of: &InterpolatedStringFormatSpec) -> Option<Box<str>> {
    let mut pieces = Pieces::default();
    pieces.take(&of.elements);
    match pieces.end()?.as_slice() {
        [Piece::Text(text)] => Some(text.as_str().into()),
        _ => None,
    }
}

#[derive(Default)]
struct Pieces<'d> {
    pieces: Vec<Piece<'d>>,
    text: String,
}

impl<'d> Pieces<'d> {
    fn take(&mut self, elements: &'d [InterpolatedStringElement]) {
        for element in elements {
            match element {
                InterpolatedStringElement::Literal(literal) => self.text.push_str(literal),
                InterpolatedStringElement::Interpolation(of) => {
                    if let Some(written) = &of.debug_text {
                        self.text.push_str(written.as_str());
                    }
                    self.end_text();
                    self.pieces.push(Piece::Value(of));
                }
            }
        }
    }

    fn end_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.pieces.push(Piece::Text(text));
        }
    }

    fn end(mut self) -> Option<Vec<Piece<'d>>> {
        self.end_text();
        let is_whole = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => !text.contains(REPLACED),
            Piece::Value(_) => true,
        };
        self.pieces.iter().all(is_whole).then_some(self.pieces)
    }
}
