//! A pack as the native engine runs it: functions as trees whose names are resolved, local ones to slots.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use foldhash::fast::RandomState;

use super::constants::Constant;
use super::names::Method;

/// All functions of a pack that its detections and data models reach.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) functions: Vec<Function>,
    /// By the detection's index.
    pub(super) detections: HashMap<u32, Detection, RandomState>,
    /// By log type.
    pub(super) models: HashMap<String, Model>,
    /// Regular expressions that functions give as texts.
    pub(super) patterns: HashMap<Box<str>, super::pattern::Pattern>,
    /// The names that functions write with `global`, by their slots.
    pub(super) written: Vec<Written>,
    /// How many of them may have been written since the pack was loaded.
    pub(super) writes: AtomicU64,
    /// Whether the interpreter's local time is UTC.
    pub(super) in_utc: bool,
    /// Whether its `fromisoformat` reads `Z` and a second's digits of any number: from Python 3.11 on.
    pub(super) iso_zones: bool,
    /// How the interpreter reads times by a format.
    pub(super) times: super::strptime::Directives,
    /// Networks of the running interpreter that make an address private, and those among them that do not.
    pub(super) addresses: super::address::Tables,
    /// The countries of `pycountry` by their codes of two letters, in small letters.
    pub(super) countries: HashMap<Box<str>, super::constants::Kind>,
}

impl Program {
    /// Notes that an evaluation may have written a global: from now on only Python knows what it holds.
    pub(super) fn is_written(&self, slot: usize) {
        if let Some(of) = self.written.get(slot)
            && !of.since.load(Ordering::Relaxed)
            && !of.since.swap(true, Ordering::AcqRel)
        {
            self.writes.fetch_add(1, Ordering::Release);
        }
    }
}

/// A global that functions write.
#[derive(Debug)]
pub(super) struct Written {
    /// What it held when the pack was loaded.
    pub(super) loaded: Constant,
    /// Whether an evaluation may have written it since: what it holds then only Python knows.
    pub(super) since: AtomicBool,
}

/// The functions of a detection.
#[derive(Debug)]
pub(super) struct Detection {
    /// `rule`, or `policy`.
    pub(super) rule: usize,
    /// Slots of the globals that its functions, and what they reach, may write.
    pub(super) writes: Vec<usize>,
    /// Whether something that its functions reach is of the key-value store, or may be.
    pub(super) may_store: bool,
    /// Whether it was found to need Python for every event: it keeps state between them, or Python once said something else.
    pub(super) demoted: AtomicBool,
    /// How often it ran out of steps.
    pub(super) exhausted: AtomicU32,
    /// Auxiliary functions, in the order in which they run.
    pub(super) functions: Vec<(Output, usize)>,
    pub(super) id: String,
    pub(super) kind: crate::pack::DetectionKind,
    pub(super) severity: crate::pack::Severity,
}

/// An auxiliary function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Title,
    Description,
    Reference,
    Severity,
    Runbook,
    Destinations,
    Dedup,
    Context,
    Unique,
}

impl Output {
    /// All, in the order in which they run.
    pub(super) const ALL: [Self; 9] = [
        Self::Title,
        Self::Description,
        Self::Reference,
        Self::Severity,
        Self::Runbook,
        Self::Destinations,
        Self::Dedup,
        Self::Context,
        Self::Unique,
    ];

    /// The function's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Description => "description",
            Self::Reference => "reference",
            Self::Severity => "severity",
            Self::Runbook => "runbook",
            Self::Destinations => "destinations",
            Self::Dedup => "dedup",
            Self::Context => "alert_context",
            Self::Unique => "unique",
        }
    }
}

/// The mappings of a data model.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) fields: HashMap<Box<str>, Mapping, RandomState>,
    /// What `udm_path` says of each field: its path, or its method's name.
    pub(super) told: HashMap<Box<str>, Box<str>>,
}

/// Where a unified field is found.
#[derive(Debug)]
pub(super) enum Mapping {
    Path(Vec<Step>),
    Method(usize),
    /// A method that has no form here.
    Unknown(Box<str>),
}

/// A step of a data model's path.
#[derive(Debug)]
pub(super) enum Step {
    Key(Box<str>),
    Place(i64),
    Each,
}

/// A function of a pack.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) parameters: Parameters,
    /// How many local names it has, those of its comprehensions included. Parameters come first.
    pub(super) slots: usize,
    pub(super) body: Vec<Statement>,
}

/// What a function takes. Slots: positional, then keyword-only, then `*rest`, then `**more`.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) positional: Vec<Parameter>,
    pub(super) keyword_only: Vec<Parameter>,
    pub(super) rest: bool,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) default: Option<Constant>,
}

/// A function that is defined inside another. What it reads of the other's names is copied when it is made.
#[derive(Debug)]
pub(super) struct Lambda {
    pub(super) function: Function,
    /// Slots outside, and the slots inside that they are copied to.
    pub(super) captured: Vec<(usize, usize)>,
    /// The slot inside that holds the function itself, if it calls itself.
    pub(super) own: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Statement {
    Return(Option<Expression>),
    Expression(Expression),
    Assign(Vec<Target>, Expression),
    Augment(Target, Operator, Expression),
    If(Expression, Vec<Statement>, Vec<Statement>),
    For {
        target: Target,
        over: Expression,
        body: Vec<Statement>,
        otherwise: Vec<Statement>,
    },
    While {
        test: Expression,
        body: Vec<Statement>,
        otherwise: Vec<Statement>,
    },
    Try {
        body: Vec<Statement>,
        handlers: Vec<Handler>,
        otherwise: Vec<Statement>,
        finally: Vec<Statement>,
    },
    Raise(Option<Expression>),
    Break,
    Continue,
    Pass,
    Hole(Box<str>),
}

#[derive(Debug)]
pub(super) struct Handler {
    /// Nothing: any exception.
    pub(super) class: Option<Expression>,
    pub(super) slot: Option<usize>,
    pub(super) body: Vec<Statement>,
}

#[derive(Debug)]
pub(super) enum Target {
    Local(usize),
    Written(usize),
    Item(Expression, Expression),
    /// An attribute of an instance.
    Attribute(Expression, Box<str>),
    /// Several at once; the place of a starred one.
    Several(Vec<Target>, Option<usize>),
    Hole(Box<str>),
}

#[derive(Debug)]
pub(super) enum Expression {
    Constant(Constant),
    Local(usize),
    /// A global that functions write, and its value when the pack was loaded.
    Written(usize),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    Choice(Box<[Expression; 3]>),
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    Binary(Operator, Box<[Expression; 2]>),
    Call(Box<Expression>, Arguments),
    Method(Box<Expression>, Method, Arguments),
    /// A method of a class of the pack.
    OwnMethod(Box<Expression>, Box<str>, Arguments),
    Attribute(Box<Expression>, Box<str>),
    Item(Box<[Expression; 2]>),
    Slice(Box<Expression>, Box<[Option<Expression>; 3]>),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Set(Vec<Expression>),
    /// Without a key: `**value`.
    Dict(Vec<(Option<Expression>, Expression)>),
    /// Only among the elements of a call or a display: `*value`.
    Starred(Box<Expression>),
    Comprehension(Made, Box<Comprehension>),
    Text(Vec<Part>),
    Walrus(usize, Box<Expression>),
    Lambda(Box<Lambda>),
    Hole(Box<str>),
}

/// What a comprehension makes of its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    List,
    Set,
    Dict,
    /// A generator whose elements are wanted one by one: stops at the first true one, the first false one, the first.
    Any,
    All,
    First,
    /// A generator whose elements are all wanted.
    Elements,
}

#[derive(Debug)]
pub(super) struct Comprehension {
    pub(super) element: Expression,
    /// Of a dict.
    pub(super) value: Option<Expression>,
    pub(super) loops: Vec<Loop>,
    /// Of `next(generator, default)`.
    pub(super) default: Option<Expression>,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) target: Target,
    pub(super) over: Expression,
    pub(super) tests: Vec<Expression>,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expression>,
    pub(super) named: Vec<(Box<str>, Expression)>,
}

impl Arguments {
    /// The only one, if there is one only and it is no `*value`.
    pub(super) fn only(&self) -> Option<&Expression> {
        match self.positional.as_slice() {
            [one] if self.named.is_empty() && !matches!(one, Expression::Starred(_)) => Some(one),
            _ => None,
        }
    }
}

/// A piece of an f-string.
#[derive(Debug)]
pub(super) enum Part {
    Text(Box<str>),
    Value(Expression),
    Repr(Expression),
    /// With a format.
    Formatted(Expression, Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Is,
    IsNot,
    In,
    NotIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    And,
    Or,
    Xor,
    Power,
    Other,
}
