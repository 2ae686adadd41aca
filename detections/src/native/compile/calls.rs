//! Calls of functions and methods.

use ruff_python_ast::{Expr, ExprCall, Operator};

use super::functions::{Compiler, Inner, Meaning, hole};
use crate::native::constants::Constant;
use crate::native::names::{Builtin, Class, Method};
use crate::native::pattern::Pattern;
use crate::native::program::{Arguments, Expression, Made, Part};
use crate::native::told::ToldValue;

impl<'d> Compiler<'_, 'd> {
    pub(super) fn call(&mut self, call: &'d ExprCall) -> Expression {
        let (positional, named) = (&call.arguments.args, &call.arguments.keywords);
        if named.iter().any(|keyword| keyword.arg.is_none()) {
            return hole("**arguments in a call");
        }
        let member = match &*call.func {
            Expr::Name(of) => match self.meaning(&of.id) {
                Meaning::Constant(constant) => Some(constant),
                _ => None,
            },
            Expr::Attribute(of) => self.member(of),
            _ => None,
        };
        if let Some(compared) = self.similarity(call) {
            return compared;
        }
        if let Some(Constant::Builtin(Builtin::ReCompile)) = &member
            && let Some(pattern) = self.written_pattern(positional)
        {
            return Expression::Constant(Constant::Regex(pattern.into()));
        }
        if let Some(found) = self.over_generator(member.as_ref(), call) {
            return found;
        }
        let method = match &*call.func {
            Expr::Attribute(of) if member.is_none() => Some((&*of.value, of.attr.as_str())),
            _ => None,
        };
        let takes_all = member.as_ref().is_some_and(takes_all)
            || matches!(method, Some((_, "join" | "extend" | "update")));
        let arguments = Arguments {
            positional: positional
                .iter()
                .map(|argument| self.argument(argument, takes_all))
                .collect(),
            named: named
                .iter()
                .map(|keyword| {
                    let name = keyword.arg.as_ref().map_or("", |name| name.as_str());
                    (name.into(), self.argument(&keyword.value, false))
                })
                .collect(),
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
            (None, None) => Expression::Call(self.boxed(&call.func), arguments),
        }
    }

    /// An argument; `takes_all` if the function goes through all elements before it does anything else.
    fn argument(&mut self, argument: &'d Expr, takes_all: bool) -> Expression {
        match argument {
            Expr::Generator(of) if takes_all => {
                self.comprehension(Made::Elements, &of.generators, &of.elt, None)
            }
            Expr::Lambda(of) => self.inner(Inner::Lambda(of), true),
            argument => self.expression(argument),
        }
    }

    /// `any`, `all` and `next` over a generator, which they go through as far as they need.
    fn over_generator(
        &mut self,
        member: Option<&Constant>,
        call: &'d ExprCall,
    ) -> Option<Expression> {
        let Some(Constant::Builtin(builtin)) = member else {
            return None;
        };
        let (generator, rest) = match call.arguments.args.split_first()? {
            (Expr::Generator(of), rest) if call.arguments.keywords.is_empty() => (of, rest),
            _ => return None,
        };
        let (made, default) = match (builtin, rest) {
            (Builtin::Any, []) => (Made::Any, None),
            (Builtin::All, []) => (Made::All, None),
            (Builtin::Next, [default]) => (Made::First, Some(self.expression(default))),
            _ => return None,
        };
        let found = self.comprehension(made, &generator.generators, &generator.elt, None);
        Some(match found {
            Expression::Comprehension(made, mut of) => {
                of.default = default;
                Expression::Comprehension(made, of)
            }
            other => other,
        })
    }

    /// `re.compile` of what is written in the code.
    fn written_pattern(&mut self, arguments: &'d [Expr]) -> Option<Pattern> {
        let (text, flags) = match arguments {
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
    fn flags(&mut self, expression: &'d Expr) -> Option<u64> {
        match expression {
            Expr::BinOp(of) if of.op == Operator::BitOr => {
                Some(self.flags(&of.left)? | self.flags(&of.right)?)
            }
            Expr::Attribute(of) => match self.global_named(&of.value)? {
                ToldValue::Library(module) if module == "re" => Pattern::flag(&of.attr),
                _ => None,
            },
            _ => None,
        }
    }

    /// `SequenceMatcher(None, a, b).ratio()`, as one: the matcher is of no other use.
    fn similarity(&mut self, call: &'d ExprCall) -> Option<Expression> {
        let Expr::Attribute(ratio) = &*call.func else {
            return None;
        };
        let Expr::Call(made) = &*ratio.value else {
            return None;
        };
        let [Expr::NoneLiteral(_), a, b] = &*made.arguments.args else {
            return None;
        };
        let plain = call.arguments.is_empty() && made.arguments.keywords.is_empty();
        let is_matcher = ratio.attr.as_str() == "ratio"
            && matches!(
                self.expression(&made.func),
                Expression::Constant(Constant::Class(Class::SequenceMatcher))
            );
        if !is_matcher || !plain {
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
        let place = match self.supers.get(name) {
            Some(ToldValue::Function(name)) => self.pack.place(name),
            _ => None,
        };
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

/// Whether a function goes through all elements of its argument before it does anything else: a generator may run before it.
fn takes_all(function: &Constant) -> bool {
    matches!(
        function,
        Constant::Builtin(Builtin::Sorted | Builtin::Sum | Builtin::Min | Builtin::Max)
            | Constant::Class(
                Class::List | Class::Set | Class::Tuple | Class::Dict | Class::Frozenset
            )
    )
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
fn is_super(expression: &Expr) -> bool {
    match expression {
        Expr::Call(call) if call.arguments.args.is_empty() => {
            matches!(&*call.func, Expr::Name(of) if of.id == *"super")
        }
        _ => false,
    }
}
