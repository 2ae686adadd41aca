//! Calls of functions and methods.

use serde_json::Value as Json;

use super::functions::{Compiler, Meaning, hole};
use super::{attribute, class, items, name_of};
use crate::native::constants::Constant;
use crate::native::names::{Builtin, Class, Method};
use crate::native::pattern::Pattern;
use crate::native::program::{Arguments, Expression, Made, Part};

impl<'d> Compiler<'_, 'd> {
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
            (None, Some((of, name))) => match (self.expression(of), Method::named(name)) {
                (Expression::Constant(Constant::Text(template)), Some(Method::Format))
                    if is_plain_template(&template, &arguments) =>
                {
                    Expression::Text(filled(&template, arguments))
                }
                (of, Some(method)) => Expression::Method(Box::new(of), method, arguments),
                (of, None) => Expression::OwnMethod(Box::new(of), name.into(), arguments),
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
}

/// Whether a template has a `{}` for each argument and nothing else to it, and the arguments are at hand: none does anything to another.
fn is_plain_template(template: &str, arguments: &Arguments) -> bool {
    let braces = template.matches(['{', '}']).count();
    let fields = template.matches("{}").count();
    let at_hand = |one: &Expression| matches!(one, Expression::Local(_) | Expression::Constant(_));
    braces == 2 * fields
        && fields == arguments.positional.len()
        && arguments.named.is_empty()
        && arguments.positional.iter().all(at_hand)
}

/// Such a template as the parts of an f-string, so that it is read once and not for each event.
fn filled(template: &str, arguments: Arguments) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut values = arguments.positional.into_iter();
    for (place, text) in template.split("{}").enumerate() {
        if place > 0 {
            parts.extend(values.next().map(Part::Value));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
    }
    parts
}

/// `super()`.
fn is_super(tree: &Json) -> bool {
    class(tree) == "Call" && name_of(&tree[1]) == Some("super") && items(&tree[2]).next().is_none()
}
