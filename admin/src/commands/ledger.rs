//! ledger: what became of everything received. That nothing was lost in silence is shown by the sum.

use clap::Args;
use serde_json::{Value, json};

use super::{Context, given};
use crate::{
    answer::Fields,
    failure::{Exit, Failure},
    output::{Cell, Grid, Look, Tone},
};

/// What a record can have become.
const ENDS: [&str; 3] = ["stored", "quarantined", "filtered"];

/// `ledger`.
#[derive(Debug, Args)]
pub(crate) struct Ledger {
    /// Only this source, by its label or id
    source: Option<String>,
    /// How many hours back
    #[arg(long, default_value_t = 24)]
    hours: u32,
}

impl Ledger {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = super::sources::id_of(context, self.source.as_deref()).await?;
        let input = given(json!({"source": source, "hours": self.hours}));
        let answer = context.read("node", "ledger", input).await?;
        let rows = answer.items("rows");
        if rows.is_empty() && !context.screen.json() {
            let sources = context
                .aside("panther-source-api", "listIntegrations", json!({}))
                .await;
            let known = sources.map_or(0, |sources| sources.items("integrations").len());
            context.screen.note(&match (&self.source, known) {
                (Some(source), _) => format!(
                    "nothing was received from {source} in the last {} hours",
                    self.hours
                ),
                (None, 0) => {
                    "nothing was received: there is no source yet (`pantherctl sources add`)"
                        .to_owned()
                }
                (None, _) => format!(
                    "nothing was received in the last {} hours from any of {known} sources",
                    self.hours
                ),
            });
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| table(rows, look))?;
        let missing: Vec<&Value> = rows.iter().filter(|row| unaccounted(row) != 0).collect();
        if missing.is_empty() {
            return Ok(Exit::Fine);
        }
        context.screen.note(&format!(
            "{} of {} rows do not add up: received is not stored + quarantined + filtered",
            missing.len(),
            rows.len()
        ));
        Ok(Exit::Findings)
    }
}

fn unaccounted(row: &Value) -> i64 {
    row.number("received") - ENDS.iter().map(|end| row.number(end)).sum::<i64>()
}

/// Rows by hour and source, and their sum. `sources show` shows it too.
pub(super) fn table(rows: &[Value], look: &Look) -> String {
    let mut grid = Grid::new(&[
        "HOUR",
        "SOURCE",
        "#RECEIVED",
        "#STORED",
        "#QUARANTINED",
        "#FILTERED",
        "#UNACCOUNTED",
    ]);
    let row = |hour: Cell, source: Cell, figures: &dyn Fn(&str) -> i64, unaccounted: i64| {
        let quarantined = figures("quarantined");
        [
            hour,
            source,
            figures("received").into(),
            figures("stored").into(),
            Cell::toned(
                if quarantined > 0 {
                    Tone::Warning
                } else {
                    Tone::Plain
                },
                quarantined.to_string(),
            ),
            figures("filtered").into(),
            Cell::alarming(unaccounted),
        ]
    };
    for entry in rows {
        let label = match entry.text("source_label") {
            label if label.is_empty() => entry.text("source"),
            label => label,
        };
        grid.row(row(
            entry.text("hour").into(),
            label.into(),
            &|key| entry.number(key),
            unaccounted(entry),
        ));
    }
    let sum = |key: &str| rows.iter().map(|entry| entry.number(key)).sum();
    let all = rows.iter().map(unaccounted).sum();
    grid.row(row(
        Cell::toned(Tone::Heading, "together"),
        "".into(),
        &sum,
        all,
    ));
    grid.render(look)
}

/// What the last day brought, in a sentence for those who look for something and find nothing.
pub(super) async fn in_words(context: &Context, source: Option<&str>) -> String {
    let input = given(json!({"source": source, "hours": 24}));
    let Some(answer) = context.aside("node", "ledger", input).await else {
        return "what was received is not known".to_owned();
    };
    let sum = |key: &str| {
        answer
            .items("rows")
            .iter()
            .map(|row| row.number(key))
            .sum::<i64>()
    };
    match sum("received") {
        0 => "nothing was received in the last 24 hours".to_owned(),
        received => format!(
            "of {received} records received in the last 24 hours, {} were stored, {} quarantined, {} filtered",
            sum("stored"),
            sum("quarantined"),
            sum("filtered")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_and_what_is_missing_shows() {
        let rows = [
            json!({"source": "a", "hour": "2026-11-24T09", "received": 10, "stored": 7, "quarantined": 2, "filtered": 1}),
            json!({"source": "b", "hour": "2026-11-24T09", "received": 5, "stored": 4, "quarantined": 0, "filtered": 0}),
        ];
        let shown = table(&rows, &Look::plain_at(0));
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["2026-11-24T09", "a", "10", "7", "2", "1", "0"]);
        assert_eq!(lines[3], ["together", "15", "11", "2", "1", "1"]);
    }
}
