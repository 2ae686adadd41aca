//! One thing and its fields, a line each.

use unicode_width::UnicodeWidthStr;

use super::{Look, Tone, clean, one_line};

/// Labels and values under construction. Empty values are left out.
#[derive(Debug, Default)]
pub(crate) struct Details {
    rows: Vec<(String, String, Tone)>,
}

impl Details {
    pub(crate) fn add(&mut self, label: &str, value: impl AsRef<str>) -> &mut Self {
        self.toned(label, Tone::Plain, value)
    }

    pub(crate) fn toned(&mut self, label: &str, tone: Tone, value: impl AsRef<str>) -> &mut Self {
        let value = clean(value.as_ref().trim());
        if !value.is_empty() {
            self.rows.push((one_line(label), value, tone));
        }
        self
    }

    /// Values in one column; those of several lines are indented.
    pub(crate) fn render(&self, look: &Look) -> String {
        let width = self
            .rows
            .iter()
            .map(|(label, _, _)| label.width())
            .max()
            .unwrap_or_default();
        let mut text = String::new();
        for (label, value, tone) in &self.rows {
            let blanks = " ".repeat(width - label.width() + 2);
            let label = look.palette.paint(Tone::Dim, label);
            let indented = value.replace('\n', &format!("\n{}", " ".repeat(width + 2)));
            let value = look.palette.paint(*tone, &indented);
            text.push_str(&format!("{label}{blanks}{value}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_one_column_and_empty_ones_are_left_out() {
        let mut details = Details::default();
        details
            .add("id", "x")
            .add("nothing", " ")
            .add("longer", "a\nb");
        assert_eq!(
            details.render(&Look::plain_at(0)),
            "id      x\nlonger  a\n        b\n"
        );
    }
}
