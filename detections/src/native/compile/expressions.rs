//! Expressions, calls and comprehensions.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::functions::{Compiler, Meaning, hole};
use super::{attribute, class, items, name_of, named};
use crate::native::constants::{Constant, Frozen, FrozenKind};
use crate::native::names::{Builtin, Class, Method, Module, error_classes};
use crate::native::pattern::Pattern;
use crate::native::program::{
    Arguments, Comparison, Comprehension, Expression, Loop, Made, Operator, Part,
};

impl<'d> Compiler<'_, 'd> {
    pub(super) fn optional(&mut self, tree: &'d Json) -> Option<Expression> {
        (!tree.is_null()).then(|| self.expression(tree))
    }

    pub(super) fn expressions(&mut self, list: &'d Json) -> Vec<Expression> {
        items(list).map(|one| self.expression(one)).collect()
    }

    pub(super) fn boxed(&mut self, tree: &'d Json) -> Box<Expression> {
        Box::new(self.expression(tree))
    }

    pub(super) fn expression(&mut self, tree: &'d Json) -> Expression {
        match class(tree) {
            "Constant" => Expression::Constant(self.pack.constant(&tree[1])),
            "Name" => match self.meaning(tree[1].as_str().unwrap_or_default()) {
                Meaning::Local(slot) => Expression::Local(slot),
                Meaning::Written(slot) => Expression::Written(slot),
                Meaning::Constant(constant) => Expression::Constant(constant),
                Meaning::Hole(what) => Expression::Hole(what),
            },
            "BoolOp" => {
                let parts = self.expressions(&tree[2]);
                match tree[1].as_str() {
                    Some("And") => Expression::And(parts),
                    _ => Expression::Or(parts),
                }
            }
            "UnaryOp" => {
                let operand = self.boxed(&tree[2]);
                match tree[1].as_str() {
                    Some("Not") => Expression::Not(operand),
                    Some("USub") => Expression::Negate(operand),
                    _ => hole("an operator"),
                }
            }
            "BinOp" => Expression::Binary(
                operator(&tree[2]),
                Box::new([self.expression(&tree[1]), self.expression(&tree[3])]),
            ),
            "Compare" => {
                let first = self.boxed(&tree[1]);
                let rest = items(&tree[2]).map(comparison).zip(items(&tree[3]));
                let rest = rest.map(|(comparison, right)| {
                    let right = self.expression(right);
                    // What is only asked for its elements need not be made anew each time.
                    match comparison {
                        Comparison::In | Comparison::NotIn => (comparison, folded(right)),
                        _ => (comparison, right),
                    }
                });
                Expression::Compare(first, rest.collect())
            }
            "IfExp" => Expression::Choice(Box::new([
                self.expression(&tree[1]),
                self.expression(&tree[2]),
                self.expression(&tree[3]),
            ])),
            "Call" => self.call(tree),
            "Attribute" => self.attribute(tree),
            "Subscript" => self.subscript(tree),
            "List" => Expression::List(self.expressions(&tree[1])),
            // Nothing can change it, so all may have the same.
            "Tuple" => folded(Expression::Tuple(self.expressions(&tree[1]))),
            "Set" => Expression::Set(self.expressions(&tree[1])),
            "Dict" => Expression::Dict(
                items(&tree[1])
                    .zip(items(&tree[2]))
                    .map(|(key, value)| (self.optional(key), self.expression(value)))
                    .collect(),
            ),
            "Starred" => Expression::Starred(self.boxed(&tree[1])),
            "ListComp" => self.comprehension(Made::List, tree),
            "SetComp" => self.comprehension(Made::Set, tree),
            "DictComp" => self.comprehension(Made::Dict, tree),
            "GeneratorExp" => hole("a generator that is kept"),
            "JoinedStr" => Expression::Text(items(&tree[1]).map(|part| self.part(part)).collect()),
            "NamedExpr" => {
                let value = self.boxed(&tree[2]);
                let name = tree[1][1].as_str().unwrap_or_default();
                match self.local(name, self.scopes.len()) {
                    Some(slot) => Expression::Walrus(slot, value),
                    None => hole("an assignment expression to a global"),
                }
            }
            "Lambda" => self.inner(tree, None, false),
            other => hole(other),
        }
    }

    pub(super) fn part(&mut self, tree: &'d Json) -> Part {
        match class(tree) {
            "Constant" => Part::Text(tree[1][1].as_str().unwrap_or_default().into()),
            _ if !tree[3].is_null() => match (tree[2].as_i64(), plain_format(&tree[3])) {
                (Some(-1), Some(format)) => {
                    Part::Formatted(self.expression(&tree[1]), format.into())
                }
                _ => Part::Value(hole("a format")),
            },
            _ => {
                let value = self.expression(&tree[1]);
                match tree[2].as_i64() {
                    Some(-1 | 115) => Part::Value(value),
                    Some(114) => Part::Repr(value),
                    _ => Part::Value(hole("a conversion")),
                }
            }
        }
    }

    pub(super) fn subscript(&mut self, tree: &'d Json) -> Expression {
        if class(&tree[2]) == "Slice" {
            let bounds = [
                self.optional(&tree[2][1]),
                self.optional(&tree[2][2]),
                self.optional(&tree[2][3]),
            ];
            return Expression::Slice(self.boxed(&tree[1]), Box::new(bounds));
        }
        Expression::Item(Box::new([
            self.expression(&tree[1]),
            self.expression(&tree[2]),
        ]))
    }

    /// What an attribute of a module means; `None` if its owner is no module.
    pub(super) fn member(&mut self, tree: &'d Json) -> Option<Constant> {
        let (of, name) = attribute(tree)?;
        let Some(owner) = name_of(of) else {
            return self
                .dotted(of)
                .map(|owner| named(&format!("{owner}.{name}")));
        };
        if self.local(owner, self.scopes.len()).is_some() {
            return None;
        }
        let form = self.globals.get(owner)?;
        match form[0].as_str()? {
            "P" => Some(match form[1].get(name) {
                Some(inner) => self.pack.constant(inner),
                None => Constant::Unknown(name.into()),
            }),
            "N" => {
                let module = form[1].as_str()?;
                let known: &str = match Module::named(module) {
                    Some(known) => known.name(),
                    None => module,
                };
                let whole = format!("{known}.{name}");
                Some(match error_classes(&whole) {
                    Some(classes) => Constant::KnownErrorClass(classes),
                    None => named(&whole),
                })
            }
            "C" => Some(named(&format!("{}.{name}", form[1].as_str()?))),
            _ => None,
        }
    }

    /// The full name of a member of a module of the library, such as `datetime.datetime` for `dt.datetime`.
    pub(super) fn dotted(&mut self, tree: &'d Json) -> Option<String> {
        let (of, name) = attribute(tree)?;
        let owner = name_of(of)?;
        if self.local(owner, self.scopes.len()).is_some() {
            return None;
        }
        let form = self.globals.get(owner)?;
        (form[0] == "N").then(|| Some(format!("{}.{name}", form[1].as_str()?)))?
    }

    pub(super) fn attribute(&mut self, tree: &'d Json) -> Expression {
        if let Some(member) = self.member(tree) {
            return Expression::Constant(member);
        }
        Expression::Attribute(
            self.boxed(&tree[1]),
            tree[2].as_str().unwrap_or_default().into(),
        )
    }

    pub(super) fn call(&mut self, tree: &'d Json) -> Expression {
        let (of, arguments, named_arguments) = (&tree[1], &tree[2], &tree[3]);
        if items(named_arguments).any(|keyword| keyword[1].is_null()) {
            return hole("**arguments in a call");
        }
        let member = match class(of) {
            "Name" => match self.meaning(of[1].as_str().unwrap_or_default()) {
                Meaning::Constant(constant) => Some(constant),
                _ => None,
            },
            "Attribute" => self.member(of),
            _ => None,
        };
        if let Some(compared) = self.similarity(tree) {
            return compared;
        }
        if let Some(Constant::Builtin(Builtin::ReCompile)) = &member
            && let Some(pattern) = self.written_pattern(arguments)
        {
            return Expression::Constant(Constant::Regex(pattern.into()));
        }
        let method = attribute(of).filter(|_| member.is_none());
        let generator = items(arguments).position(|one| class(one) == "GeneratorExp");
        if let Some(place) = generator {
            let count = items(arguments).count() + items(named_arguments).count();
            match &member {
                Some(Constant::Builtin(Builtin::Any)) if count == 1 => {
                    return self.comprehension(Made::Any, &arguments[0]);
                }
                Some(Constant::Builtin(Builtin::All)) if count == 1 => {
                    return self.comprehension(Made::All, &arguments[0]);
                }
                Some(Constant::Builtin(Builtin::Next)) if place == 0 && count == 2 => {
                    let default = self.expression(&arguments[1]);
                    let found = self.comprehension(Made::First, &arguments[0]);
                    return match found {
                        Expression::Comprehension(made, mut of) => {
                            of.default = Some(default);
                            Expression::Comprehension(made, of)
                        }
                        other => other,
                    };
                }
                _ => {}
            }
        }
        // What goes through all elements before it does anything else: a generator may run before it.
        let takes_all = matches!(
            &member,
            Some(
                Constant::Builtin(Builtin::Sorted | Builtin::Sum | Builtin::Min | Builtin::Max)
                    | Constant::Class(
                        Class::List | Class::Set | Class::Tuple | Class::Dict | Class::Frozenset
                    )
            )
        ) || matches!(method, Some((_, "join" | "extend" | "update")));
        let mut positional = Vec::new();
        for argument in items(arguments) {
            positional.push(match class(argument) {
                "GeneratorExp" if takes_all => self.comprehension(Made::Elements, argument),
                "Lambda" => self.inner(argument, None, true),
                _ => self.expression(argument),
            });
        }
        let named_arguments = items(named_arguments)
            .map(|keyword| {
                let name = keyword[1].as_str().unwrap_or_default().into();
                let value = match class(&keyword[2]) {
                    "Lambda" => self.inner(&keyword[2], None, true),
                    _ => self.expression(&keyword[2]),
                };
                (name, value)
            })
            .collect();
        let arguments = Arguments {
            positional,
            named: named_arguments,
        };
        if let Some((of, name)) = method
            && is_super(of)
        {
            return self.of_super(name, arguments);
        }
        match (member, method) {
            (Some(constant), _) => {
                Expression::Call(Box::new(Expression::Constant(constant)), arguments)
            }
            (None, Some((of, name))) => match Method::named(name) {
                Some(method) => Expression::Method(self.boxed(of), method, arguments),
                None => Expression::OwnMethod(self.boxed(of), name.into(), arguments),
            },
            (None, None) => Expression::Call(self.boxed(of), arguments),
        }
    }

    /// `re.compile` of what is written in the code.
    fn written_pattern(&mut self, arguments: &'d Json) -> Option<Pattern> {
        let (text, flags) = match arguments.as_array()?.as_slice() {
            [text] => (text, 0),
            [text, flags] => (text, self.flags(flags)?),
            _ => return None,
        };
        match self.expression(text) {
            Expression::Constant(Constant::Text(text)) => Pattern::new(&text, flags),
            _ => None,
        }
    }

    /// `re.IGNORECASE | re.MULTILINE`.
    fn flags(&mut self, tree: &'d Json) -> Option<u64> {
        if class(tree) == "BinOp" && class(&tree[2]) == "BitOr" {
            return Some(self.flags(&tree[1])? | self.flags(&tree[3])?);
        }
        let (of, name) = attribute(tree)?;
        let is_re = name_of(of).is_some_and(|of| self.globals[of][1] == "re");
        Pattern::flag(name).filter(|_| is_re)
    }

    /// `SequenceMatcher(None, a, b).ratio()`, as one: the matcher is of no other use.
    fn similarity(&mut self, tree: &'d Json) -> Option<Expression> {
        let (made, "ratio") = attribute(&tree[1])? else {
            return None;
        };
        let plain = |call: &Json| items(&call[3]).next().is_none();
        let [junk, a, b] = made[2].as_array()?.as_slice() else {
            return None;
        };
        let is_matcher = class(made) == "Call"
            && matches!(
                self.expression(&made[1]),
                Expression::Constant(Constant::Class(Class::SequenceMatcher))
            );
        let none = matches!(self.expression(junk), Expression::Constant(Constant::None));
        let no_arguments = items(&tree[2]).next().is_none();
        if !is_matcher || !none || !no_arguments || !plain(made) || !plain(tree) {
            return None;
        }
        let function = Expression::Constant(Constant::Builtin(Builtin::Similarity));
        let arguments = Arguments {
            positional: vec![self.expression(a), self.expression(b)],
            named: Vec::new(),
        };
        Some(Expression::Call(Box::new(function), arguments))
    }

    /// `super().name(...)`: the function of the class above, with the method's own first argument.
    fn of_super(&mut self, name: &str, mut arguments: Arguments) -> Expression {
        let form = &self.supers[name];
        let place = form[1].as_str().filter(|_| form[0] == "F");
        let place = place.and_then(|name| self.pack.place(name));
        match place {
            Some(place) if self.scopes.len() == 1 => {
                arguments.positional.insert(0, Expression::Local(0));
                let function = Expression::Constant(Constant::Function(place));
                Expression::Call(Box::new(function), arguments)
            }
            _ => hole("super"),
        }
    }

    pub(super) fn comprehension(&mut self, made: Made, tree: &'d Json) -> Expression {
        let generators = if class(tree) == "DictComp" {
            &tree[3]
        } else {
            &tree[2]
        };
        self.scope().inner.push(HashMap::new());
        let mut loops = Vec::new();
        let mut first = true;
        for generator in items(generators) {
            // The first is evaluated outside.
            let names = first.then(|| self.scope().inner.pop()).flatten();
            let over = self.expression(&generator[2]);
            if let Some(names) = names {
                self.scope().inner.push(names);
            }
            first = false;
            let mut targets = Vec::new();
            plain_names(&generator[1], &mut targets);
            for name in targets {
                let scope = self.scope();
                let slot = scope.fresh();
                if let Some(names) = scope.inner.last_mut() {
                    names.insert(name, slot);
                }
            }
            let target = self.target(&generator[1]);
            let tests = self.expressions(&generator[3]);
            loops.push(Loop {
                target,
                over,
                tests,
            });
        }
        let element = self.expression(&tree[1]);
        let value = (class(tree) == "DictComp").then(|| self.expression(&tree[2]));
        self.scope().inner.pop();
        Expression::Comprehension(
            made,
            Box::new(Comprehension {
                element,
                value,
                loops,
                default: None,
            }),
        )
    }
}

pub(super) fn plain_names<'d>(target: &'d Json, names: &mut Vec<&'d str>) {
    match class(target) {
        "Name" => names.extend(target[1].as_str()),
        "Tuple" | "List" => items(&target[1]).for_each(|one| plain_names(one, names)),
        "Starred" => plain_names(&target[1], names),
        _ => {}
    }
}

pub(super) fn operator(tree: &Json) -> Operator {
    match tree.as_str().unwrap_or_default() {
        "Add" => Operator::Add,
        "Sub" => Operator::Subtract,
        "Mult" => Operator::Multiply,
        "Div" => Operator::Divide,
        "FloorDiv" => Operator::FloorDivide,
        "Mod" => Operator::Modulo,
        "BitAnd" => Operator::And,
        "BitOr" => Operator::Or,
        "BitXor" => Operator::Xor,
        "Pow" => Operator::Power,
        _ => Operator::Other,
    }
}

pub(super) fn comparison(tree: &Json) -> Comparison {
    match tree.as_str().unwrap_or_default() {
        "Eq" => Comparison::Equal,
        "NotEq" => Comparison::Unequal,
        "Lt" => Comparison::Less,
        "LtE" => Comparison::LessOrEqual,
        "Gt" => Comparison::Greater,
        "GtE" => Comparison::GreaterOrEqual,
        "Is" => Comparison::Is,
        "IsNot" => Comparison::IsNot,
        "In" => Comparison::In,
        _ => Comparison::NotIn,
    }
}

/// The text of a format that has no expressions inside.
fn plain_format(tree: &Json) -> Option<&str> {
    match tree[1].as_array()?.as_slice() {
        [part] if class(part) == "Constant" => part[1][1].as_str(),
        _ => None,
    }
}

/// A display of plain constants as one constant; anything else as it is.
fn folded(expression: Expression) -> Expression {
    let is_plain = |part: &Expression| {
        matches!(
            part,
            Expression::Constant(
                Constant::None
                    | Constant::Bool(_)
                    | Constant::Int(_)
                    | Constant::Float(_)
                    | Constant::Text(_)
            )
        )
    };
    let (kind, parts) = match expression {
        Expression::List(parts) => (FrozenKind::List, parts),
        Expression::Tuple(parts) => (FrozenKind::Tuple, parts),
        Expression::Set(parts) => (FrozenKind::Set, parts),
        other => return other,
    };
    if !parts.iter().all(is_plain) {
        return match kind {
            FrozenKind::List => Expression::List(parts),
            FrozenKind::Set => Expression::Set(parts),
            _ => Expression::Tuple(parts),
        };
    }
    let constants = parts.into_iter().filter_map(|part| match part {
        Expression::Constant(constant) => Some(constant),
        _ => None,
    });
    let frozen = Frozen::new(kind, constants.collect(), Vec::new());
    Expression::Constant(Constant::Frozen(frozen.into()))
}

/// `super()`.
fn is_super(tree: &Json) -> bool {
    class(tree) == "Call" && name_of(&tree[1]) == Some("super") && items(&tree[2]).next().is_none()
}
