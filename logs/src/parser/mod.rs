//! Parsers: how a record becomes the JSON object that a schema is held against.
//!
//! A JSON record is that object already. Every other parser writes one, typed by the schema's top-level fields, and from there on all log
//! types go the same way. A parser is compiled with its schema and shared; what it learns from an object's lines is its [`State`].

mod csv;
mod fastmatch;
mod native;
mod pattern;
mod row;

use native::Native;

use crate::{
    json::Document,
    schema::{ObjectType, ParserFile, Shapes},
};

/// Why a record is no event and yet nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// White space only.
    Blank,
    /// Names the columns of what follows.
    Header,
    /// Begins as the log type's comments do.
    Comment,
    /// One of the first lines, which the log type skips by count.
    Skipped,
    /// Part of an envelope, or an envelope without records.
    Envelope,
}

/// What a parser makes of a record.
#[derive(Debug, PartialEq)]
pub(crate) enum Reading {
    /// The record is a JSON object as it stands.
    AsItIs,
    /// JSON objects were written.
    Written,
    /// No event. What the parser learned holds only once the record is found to be nobody else's: see [`State::accept`].
    Filtered(Filter),
    /// The beginning of an event that a later record may end. What the parser learned holds as for `Filtered`.
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
}

/// What a parser has learned from the object's lines so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Column names, once a header gave them.
    header: Option<Vec<String>>,
    /// A header line was seen, of no matter which names.
    header_seen: bool,
    /// Lines skipped by count.
    skipped: u64,
    /// The lines so far of a row whose quoted value has not ended.
    open: Option<Open>,
    /// What becomes true if the record just read is nobody else's.
    pending: Option<Learned>,
}

/// A row of which not all lines were read.
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
    /// Whether records before the one to be read next belong to an event that has not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Forgets an event that has not ended; names of columns stay.
    pub(crate) fn forget_begun(&mut self) {
        self.open = None;
        self.pending = None;
    }

    /// The record that was read last is no other log type's: what was learned from it holds.
    pub(crate) fn accept(&mut self) {
        match self.pending.take() {
            Some(Learned::Open(open)) => self.open = Some(open),
            Some(Learned::Header(columns)) => self.header = Some(columns),
            Some(Learned::HeaderSeen) => self.header_seen = true,
            Some(Learned::Skipped) => self.skipped += 1,
            None => {}
        }
    }

    /// A blank line was read: part of a quoted value, if one has not ended.
    pub(crate) fn blank(&mut self, line: &str) {
        if let Some(open) = &mut self.open {
            open.text.push('\n');
            open.text.push_str(line);
            open.lines += 1;
        }
    }

    /// The filter of a text parser's first lines and comments, common to all of them.
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

/// One record as the parsers see it.
pub(crate) struct Line<'t, 'a> {
    /// Without white space around it.
    pub(crate) text: &'a str,
    /// With it.
    pub(crate) whole: &'a str,
    /// The record as JSON, or why it is none.
    pub(crate) json: Result<Document<'t, 'a>, &'t str>,
}

impl Parser {
    /// Compiles the parser that a schema asks for.
    ///
    /// # Errors
    /// The option that is wrong and what is wrong with it.
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

    /// Whether an event may be more than one record.
    pub(crate) fn has_long_events(&self) -> bool {
        matches!(self, Self::Csv(_))
    }

    /// Whether a line, read by itself, could begin an event that a later record ends.
    pub(crate) fn may_begin(&self, line: &str) -> bool {
        matches!(self, Self::Csv(csv) if csv.is_open_behind(line))
    }

    /// Whether the parser is part of this library and not told by the schema.
    pub(crate) fn is_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// How strictly what the parser writes is held against its schema: JSON has names of its own, a text's columns have only their places.
    pub(crate) fn shapes(&self) -> Shapes {
        match self {
            Self::Json | Self::Native(Native::GsuiteActivity) => Shapes::Lenient,
            _ => Shapes::Strict,
        }
    }

    /// Reads one record; JSON objects go to `out`.
    ///
    /// # Errors
    /// Why the record is not of this form.
    pub(crate) fn read(
        &self,
        line: &Line<'_, '_>,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        state.pending = None;
        match self {
            Self::Json => line.json.map(|_| Reading::AsItIs).map_err(String::from),
            Self::Csv(csv) => csv.read(line.whole, root, state, out),
            Self::Fastmatch(fastmatch) => fastmatch.read(line.text, root, state, out),
            Self::Regex(pattern) => pattern.read(line.text, root, state, out),
            Self::Native(native) => native.read(line, root, state, out),
        }
    }
}
