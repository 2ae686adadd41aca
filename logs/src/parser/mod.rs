//! Parsers: convert a record into the JSON object that the schema validates.
//!
//! A JSON record already is that object. Every other parser writes one, typed by the schema's top-level fields; after that all log types
//! are processed in the same way. A parser is compiled with its schema and shared between objects; what it learns from the lines of one
//! object is its [`State`].

mod csv;
mod fastmatch;
mod form;
mod native;
mod pattern;
mod reshape;
mod row;

use native::Native;

use crate::{
    json::Document,
    schema::{Form, ObjectType, ParserFile, Shapes},
};

/// Why a valid record carries no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// White space only.
    Blank,
    /// A header line with column names.
    Header,
    /// A comment line of the log type.
    Comment,
    /// One of the first lines, which the log type skips by number.
    Skipped,
    /// Part of an envelope, or an envelope without records.
    Envelope,
}

/// Result of parsing a record.
#[derive(Debug, PartialEq)]
pub(crate) enum Reading {
    /// The record already is a JSON object.
    AsItIs,
    /// The parser wrote one or more JSON objects.
    Written,
    /// The record carries no event. State learned from it takes effect only if no other log type matches the record: see [`State::accept`].
    Filtered(Filter),
    /// The first part of a multi-record event. Learned state takes effect as for `Filtered`.
    Begun,
}

/// A compiled parser.
#[derive(Debug)]
pub(crate) enum Parser {
    Json,
    Csv(csv::Csv),
    Fastmatch(fastmatch::Fastmatch),
    Regex(pattern::Pattern),
    Native(Native),
    Form(Form),
    /// A syslog header before the text of another parser.
    Headed(Box<Parser>),
}

/// State that a parser has learned from the lines of one object.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Column names, after a header line.
    header: Option<Vec<String>>,
    /// True after a header line, whatever its names.
    header_seen: bool,
    /// Number of lines skipped so far.
    skipped: u64,
    /// The lines so far of a row with an open quoted value.
    open: Option<Open>,
    /// State that takes effect if no other log type matches the last record.
    pending: Option<Learned>,
}

/// A row whose lines are not complete.
#[derive(Debug)]
struct Open {
    text: String,
    lines: usize,
}

#[derive(Debug)]
enum Learned {
    Open(Open),
    Header(Vec<String>),
    HeaderSeen,
    Skipped,
}

impl State {
    /// True if a multi-record event is open before the next record.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Drops an open multi-record event; keeps the column names.
    pub(crate) fn forget_begun(&mut self) {
        self.open = None;
        self.pending = None;
    }

    /// Applies the state learned from the last record, because no other log type matched it.
    pub(crate) fn accept(&mut self) {
        match self.pending.take() {
            Some(Learned::Open(open)) => self.open = Some(open),
            Some(Learned::Header(columns)) => self.header = Some(columns),
            Some(Learned::HeaderSeen) => self.header_seen = true,
            Some(Learned::Skipped) => self.skipped += 1,
            None => {}
        }
    }

    /// Adds a blank line to the open quoted value, if there is one.
    pub(crate) fn blank(&mut self, line: &str) {
        if let Some(open) = &mut self.open {
            open.text.push('\n');
            open.text.push_str(line);
            open.lines += 1;
        }
    }

    /// The filter for skipped lines and comments, shared by all text parsers.
    fn filter(&mut self, line: &str, skip_lines: u64, skip_prefix: Option<&str>) -> Option<Filter> {
        if self.skipped < skip_lines {
            self.pending = Some(Learned::Skipped);
            return Some(Filter::Skipped);
        }
        skip_prefix
            .is_some_and(|prefix| !prefix.is_empty() && line.starts_with(prefix))
            .then_some(Filter::Comment)
    }
}

/// One record, as passed to the parsers.
pub(crate) struct Line<'t, 'a> {
    /// The text without surrounding white space.
    pub(crate) text: &'a str,
    /// The original text.
    pub(crate) whole: &'a str,
    /// The record as JSON, or the reason why it is not JSON.
    pub(crate) json: Result<Document<'t, 'a>, &'t str>,
}

impl Parser {
    /// Compiles the parser that a schema declares.
    ///
    /// # Errors
    /// The path of the invalid option, and the reason.
    pub(crate) fn compile(
        file: Option<&ParserFile>,
        root: &ObjectType,
    ) -> Result<Self, (String, String)> {
        let Some(file) = file else {
            return Ok(Self::Json);
        };
        let under = |parser: &str, (option, problem): (&str, String)| {
            (
                if option.is_empty() {
                    format!("parser.{parser}")
                } else {
                    format!("parser.{parser}.{option}")
                },
                problem,
            )
        };
        if let Some(header) = &file.header {
            if header != "syslog" {
                let problem = format!("`{header}` is no header: use syslog");
                return Err(("parser.header".into(), problem));
            }
            if file.csv.is_some() || file.syslog.is_some() || file.native.is_some() {
                let problem = "stands before json, keyValue, cef, leef, fastmatch or regex only";
                return Err(("parser.header".into(), problem.into()));
            }
            let mut inner = file.clone();
            inner.header = None;
            return Self::compile(Some(&inner), root).map(|inner| Self::Headed(Box::new(inner)));
        }
        if let Some(form) =
            Form::of_parser(file).map_err(|(path, problem)| (format!("parser.{path}"), problem))?
        {
            return Ok(Self::Form(form));
        }
        if let Some(csv) = &file.csv {
            csv::Csv::compile(csv)
                .map(Self::Csv)
                .map_err(|error| under("csv", error))
        } else if let Some(file) = &file.fastmatch {
            fastmatch::Fastmatch::compile(file)
                .map(Self::Fastmatch)
                .map_err(|error| under("fastmatch", error))
        } else if let Some(file) = &file.regex {
            pattern::Pattern::compile(file, root)
                .map(Self::Regex)
                .map_err(|error| under("regex", error))
        } else if let Some(file) = &file.native {
            Native::named(&file.name)
                .map(Self::Native)
                .map_err(|problem| under("native", ("name", problem)))
        } else {
            Ok(Self::Json)
        }
    }

    /// True if the parser has multi-record events.
    pub(crate) fn has_long_events(&self) -> bool {
        matches!(self, Self::Csv(_))
    }

    /// True if a line, parsed in isolation, could be the first part of a multi-record event.
    pub(crate) fn may_begin(&self, line: &str) -> bool {
        matches!(self, Self::Csv(csv) if csv.is_open_behind(line))
    }

    /// True if the parser is built into this library instead of declared by the schema.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// How strictly the output is validated: JSON fields have names of their own, but columns of a text have only positions, so a wrong
    /// type is a sign of a wrong log type.
    pub(crate) fn shapes(&self) -> Shapes {
        match self {
            Self::Json | Self::Native(Native::FalconReplicator | Native::GsuiteActivity) => {
                Shapes::Lenient
            }
            Self::Form(Form::Syslog) => Shapes::Strict,
            Self::Form(_) => Shapes::Lenient,
            Self::Headed(inner) => inner.shapes(),
            _ => Shapes::Strict,
        }
    }

    /// Parses one record and appends JSON objects to `out`, with the transformations of the schema applied.
    ///
    /// # Errors
    /// Why the record does not have this form.
    pub(crate) fn read(
        &self,
        line: &Line<'_, '_>,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        state.pending = None;
        let reading = self.parse(line, root, state, out)?;
        if root.changes.any() {
            return reshape::reshape(reading, line, root, out);
        }
        Ok(reading)
    }

    fn parse(
        &self,
        line: &Line<'_, '_>,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        match self {
            Self::Json => line.json.map(|_| Reading::AsItIs).map_err(String::from),
            Self::Csv(csv) => csv.read(line.whole, root, state, out),
            Self::Fastmatch(fastmatch) => fastmatch.read(line.text, root, state, out),
            Self::Regex(pattern) => pattern.read(line.text, root, state, out),
            Self::Native(native) => native.read(line, root, state, out),
            Self::Form(form) => {
                let mut json = String::with_capacity(1024);
                form::read(form, line.text, Some(root), &mut json)?;
                out.push(json);
                Ok(Reading::Written)
            }
            Self::Headed(inner) => form::read_behind_header(inner, line, root, state, out),
        }
    }
}
