//! What the tool shows: data on standard output, everything else on standard error.
//!
//! Text from logs, rules and servers is written by others. It passes [`clean`] before it reaches a terminal.

mod details;
mod grid;
mod text;
mod time;

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Utc};

use crate::{answer::AsJson, failure::Failure};

pub(crate) use details::Details;
pub(crate) use grid::{Cell, Grid};
pub(crate) use text::{bytes, clean, counted, one_line, pretty, short};
pub(crate) use time::{ago, instant, moment, span};

/// What a colour says. There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    Dim,
    Heading,
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Palette {
    coloured: bool,
}

impl Palette {
    /// No colours.
    pub(crate) const PLAIN: Self = Self { coloured: false };
    /// Colours.
    pub(crate) const COLOURED: Self = Self { coloured: true };

    /// Puts text in a colour. The text must be clean.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => "",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Heading => "1",
        };
        if self.coloured && !code.is_empty() && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// What rendering depends on besides the data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) palette: Palette,
    /// The present, to which times are told relative.
    pub(crate) now: DateTime<Utc>,
}

impl Look {
    #[cfg(test)]
    pub(crate) fn plain_at(seconds: i64) -> Self {
        Self {
            palette: Palette::PLAIN,
            now: DateTime::from_timestamp(seconds, 0).unwrap_or_default(),
        }
    }

    /// A heading on its own line.
    pub(crate) fn heading(&self, text: &str) -> String {
        format!("{}\n", self.palette.paint(Tone::Heading, &one_line(text)))
    }

    /// A clean text in a colour.
    pub(crate) fn toned(&self, tone: Tone, text: &str) -> String {
        self.palette.paint(tone, &one_line(text))
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Colour {
    fn palette(self, terminal: bool) -> Palette {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let coloured = match self {
            Self::Auto => terminal && !refused,
            Self::Always => true,
            Self::Never => false,
        };
        if coloured {
            Palette::COLOURED
        } else {
            Palette::PLAIN
        }
    }
}

/// The two streams that a command writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    json: bool,
    look: Look,
    errors: Palette,
}

impl Screen {
    pub(crate) fn new(json: bool, colour: Colour, now: DateTime<Utc>) -> Self {
        Self {
            json,
            look: Look {
                palette: colour.palette(std::io::stdout().is_terminal()),
                now,
            },
            errors: colour.palette(std::io::stderr().is_terminal()),
        }
    }

    /// Whether answers are shown as they came.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) fn look(&self) -> &Look {
        &self.look
    }

    /// An answer: as it came with `--json`, else as `render` writes it.
    pub(crate) fn show(
        &self,
        answer: &impl AsJson,
        render: impl FnOnce(&Look) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.print(&format!("{}\n", text::json(answer.as_json().trim())))
        } else {
            self.print(&render(&self.look))
        }
    }

    /// The same of what was found out here: its JSON is put together only for whoever asks for it.
    pub(crate) fn show_made(
        &self,
        json: impl FnOnce() -> serde_json::Value,
        render: impl FnOnce(&Look) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.print(&format!("{}\n", text::json(&json().to_string())))
        } else {
            self.print(&render(&self.look))
        }
    }

    /// Data, to standard output at once.
    ///
    /// # Errors
    /// The reader is gone, or what holds the output failed.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Failure::reader_gone(),
                _ => Failure::new("cannot write the output").why(error.to_string()),
            })
    }

    /// A word to the person, to standard error.
    pub(crate) fn note(&self, text: &str) {
        // There is nobody left to tell if this fails.
        let _ = writeln!(std::io::stderr(), "{}", clean(text.trim_end()));
    }

    /// Why the command failed, to standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        let text = if self.json {
            format!("{}\n", failure.as_json())
        } else {
            failure.render(self.errors)
        };
        let _ = write!(std::io::stderr(), "{text}"); // there is no other place to say it
    }
}
