//! Tables: a head, rows, columns aligned by what a terminal shows.

use unicode_width::UnicodeWidthStr;

use super::{Look, Tone, one_line};

/// Which side of its column a text leans on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    /// For figures.
    Right,
}

/// One field of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            text: one_line(text.as_ref()),
            tone,
        }
    }

    /// A count that is bad news unless it is 0.
    pub(crate) fn alarming(count: i64) -> Self {
        Self::toned(
            if count == 0 { Tone::Plain } else { Tone::Bad },
            count.to_string(),
        )
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        number.to_string().into()
    }
}

/// A table under construction.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// With these column heads; one that begins with `#` holds figures. Without any text in them there is no head row.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        let heads = heads
            .iter()
            .map(|head| match head.strip_prefix('#') {
                Some(head) => (head, Align::Right),
                None => (*head, Align::Left),
            })
            .collect();
        Self {
            heads,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Columns two blanks apart, no blanks at a line's end.
    pub(crate) fn render(&self, look: &Look) -> String {
        let heads: Vec<Cell> = self
            .heads
            .iter()
            .map(|(head, _)| Cell::toned(Tone::Heading, head))
            .collect();
        let width = |column: usize| {
            std::iter::once(&heads)
                .chain(&self.rows)
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.width())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let head = self
            .heads
            .iter()
            .any(|(head, _)| !head.is_empty())
            .then_some(&heads);
        let mut text = String::new();
        for row in head.into_iter().chain(&self.rows) {
            let mut line = String::new();
            let mut owed = 0;
            for ((cell, (_, align)), width) in row.iter().zip(&self.heads).zip(&widths) {
                let blanks = width.saturating_sub(cell.text.width());
                let (before, after) = match align {
                    Align::Left => (0, blanks),
                    Align::Right => (blanks, 0),
                };
                if !cell.text.is_empty() {
                    line.push_str(&" ".repeat(owed + before));
                    line.push_str(&look.palette.paint(cell.tone, &cell.text));
                    owed = after + 2;
                } else {
                    owed += width + 2;
                }
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Palette;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut grid = Grid::new(&["NAME", "#COUNT", "NOTE"]);
        grid.row(["a".into(), 5.into(), "".into()]);
        grid.row(["日本語".into(), 12345.into(), "x\ny".into()]);
        grid.row(["".into(), 1.into(), "z".into()]);
        assert_eq!(
            grid.render(&Look::plain_at(0)),
            "NAME    COUNT  NOTE\na           5\n日本語  12345  x y\n            1  z\n"
        );
    }

    #[test]
    fn colours_do_not_disturb_the_columns() {
        let look = Look {
            palette: Palette::COLOURED,
            ..Look::plain_at(0)
        };
        let mut grid = Grid::new(&["A", "B"]);
        grid.row([Cell::toned(Tone::Bad, "x"), "y".into()]);
        let shown = grid.render(&look);
        assert!(shown.ends_with("\u{1b}[31mx\u{1b}[0m  y\n"), "{shown:?}");
    }
}
