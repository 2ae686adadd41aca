//! Why an evaluation ends early: an exception of Python's, or something that only Python can tell.

use bumpalo::Bump;

/// Why an evaluation goes no further. Two words, so that a result is no larger than a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop<'e> {
    /// Python would raise this.
    Raise(&'e Raised<'e>),
    /// Only Python can tell: what it is that this engine does not do.
    Hole(&'static &'static str),
    /// Only Python can tell: what it is of the code that has no form here.
    #[allow(clippy::borrowed_box)] // of one word
    NoForm(&'e Box<str>),
    /// A row of the key-value store has to be fetched first.
    Missing(&'e &'e str),
}

/// An exception. Where its text is not known, what escapes a detection is evaluated by Python again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raised<'e> {
    pub(super) classes: Classes<'e>,
    /// Its only argument, if that is known to be this.
    pub(super) text: Option<&'e str>,
}

/// Names of an exception's classes, from its own up to `BaseException`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Classes<'e> {
    Known(&'static [&'static str]),
    OfPack(&'e OwnError),
}

/// An exception's class of the pack.
#[derive(Debug)]
pub(super) struct OwnError {
    pub(super) names: Vec<Box<str>>,
    /// Whether it takes and shows its arguments as `Exception` does.
    pub(super) plain: bool,
}

impl Classes<'_> {
    pub(super) fn include(&self, name: &str) -> bool {
        match self {
            Self::Known(names) => names.contains(&name),
            Self::OfPack(own) => own.names.iter().any(|one| **one == *name),
        }
    }

    /// Its own name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Known(names) => names.first().copied().unwrap_or_default(),
            Self::OfPack(own) => own.names.first().map(|name| &**name).unwrap_or_default(),
        }
    }

    /// The name that its `repr` has, if that shows its arguments and nothing else.
    pub(super) fn shown(&self) -> Option<&str> {
        match self {
            Self::Known(_) if self.name().contains('.') => None,
            Self::OfPack(own) if !own.plain => None,
            _ => self.name().rsplit('.').next(),
        }
    }
}

/// Raises an exception of the language by its class's name.
pub(super) fn raise<'e>(name: &str) -> Stop<'e> {
    error(name).map_or(Stop::Hole(&"an exception"), Stop::Raise)
}

/// The same, with its text.
pub(super) fn raise_with<'e>(arena: &'e Bump, name: &str, text: &'e str) -> Stop<'e> {
    match raise(name) {
        Stop::Raise(raised) => Stop::Raise(arena.alloc(Raised {
            text: Some(text),
            ..*raised
        })),
        other => other,
    }
}

/// Exceptions of the language and its library without a text: names of the class, then of those above it.
static ERRORS: [Raised<'static>; 17] = {
    const fn of(names: &'static [&'static str]) -> Raised<'static> {
        Raised {
            classes: Classes::Known(names),
            text: None,
        }
    }
    [
        of(&["BaseException"]),
        of(&["Exception", "BaseException"]),
        of(&["ArithmeticError", "Exception", "BaseException"]),
        of(&[
            "ZeroDivisionError",
            "ArithmeticError",
            "Exception",
            "BaseException",
        ]),
        of(&["AssertionError", "Exception", "BaseException"]),
        of(&["AttributeError", "Exception", "BaseException"]),
        of(&["LookupError", "Exception", "BaseException"]),
        of(&["IndexError", "LookupError", "Exception", "BaseException"]),
        of(&["KeyError", "LookupError", "Exception", "BaseException"]),
        of(&["NameError", "Exception", "BaseException"]),
        of(&[
            "UnboundLocalError",
            "NameError",
            "Exception",
            "BaseException",
        ]),
        of(&["StopIteration", "Exception", "BaseException"]),
        of(&["TypeError", "Exception", "BaseException"]),
        of(&["ValueError", "Exception", "BaseException"]),
        of(&[
            "dateutil.parser._parser.ParserError",
            "ValueError",
            "Exception",
            "BaseException",
        ]),
        of(&[
            "ipaddress.AddressValueError",
            "ValueError",
            "Exception",
            "BaseException",
        ]),
        of(&[
            "json.decoder.JSONDecodeError",
            "ValueError",
            "Exception",
            "BaseException",
        ]),
    ]
};

/// An exception of the language by its class's name.
pub(super) fn error(name: &str) -> Option<&'static Raised<'static>> {
    let name = match name {
        "dateutil.parser.ParserError" => "dateutil.parser._parser.ParserError",
        "json.JSONDecodeError" => "json.decoder.JSONDecodeError",
        name => name,
    };
    ERRORS.iter().find(|error| error.classes.name() == name)
}

/// The names of its class and of those above it.
pub(super) fn error_classes(name: &str) -> Option<&'static [&'static str]> {
    match error(name)?.classes {
        Classes::Known(names) => Some(names),
        Classes::OfPack(_) => None,
    }
}
