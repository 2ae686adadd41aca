//! table: the rows of the replicated tables, for looking only.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Context, given};
use crate::{
    answer::Fields,
    failure::{Exit, Failure},
    output::{Details, Grid, Look, clean, pretty},
};

/// `table`.
#[derive(Debug, Subcommand)]
pub(crate) enum Table {
    /// All tables
    Ls,
    /// One row
    Get(Get),
    /// Rows in the order of their keys
    Scan(Scan),
}

/// `table get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The table
    table: String,
    /// The row's hash key
    hash: String,
    /// Its range key, in tables that have one
    #[arg(default_value = "")]
    range: String,
}

/// `table scan`.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The table
    table: String,
    /// How many rows
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Where an earlier scan ended
    #[arg(long)]
    cursor: Option<String>,
}

impl Table {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Ls => {
                let answer = context.read("node", "tables", json!({})).await?;
                context
                    .screen
                    .show(&answer, |look| tables(answer.items("tables"), look))?;
                Ok(Exit::Fine)
            }
            Self::Get(get) => get.run(context).await,
            Self::Scan(scan) => scan.run(context).await,
        }
    }
}

fn tables(tables: &[Value], look: &Look) -> String {
    let mut grid = Grid::new(&["NAME", "INDEXES", "TTL", "FEED"]);
    for table in tables {
        grid.row(["name", "indexes", "ttl", "feed"].map(|key| table.text(key).into()));
    }
    grid.render(look)
}

/// Attributes one a line; those that hold more than a line of text as JSON.
fn attributes(row: &Value, look: &Look) -> String {
    let mut details = Details::default();
    if let Value::Object(fields) = row {
        for (name, value) in fields {
            details.add(
                name,
                match value {
                    Value::String(text) => clean(text),
                    Value::Object(_) => pretty(value),
                    other => other.to_string(),
                },
            );
        }
    }
    details.render(look)
}

impl Get {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = json!({"table": self.table, "hash": self.hash, "range": self.range});
        let answer = context.read("node", "table_get", input).await?;
        let found = answer.has("row");
        if found || context.screen.json() {
            context
                .screen
                .show(&answer, |look| attributes(&answer["row"], look))?;
        }
        if found {
            return Ok(Exit::Fine);
        }
        context.screen.note(&format!(
            "no row in {} under hash key {:?} and {}; keys are case-sensitive and whole: pantherctl table scan {}",
            self.table,
            self.hash,
            if self.range.is_empty() { "no range key".to_owned() } else { format!("range key {:?}", self.range) },
            self.table
        ));
        Ok(Exit::Findings)
    }
}

impl Scan {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = json!({"table": self.table, "limit": self.limit, "cursor": self.cursor});
        let answer = context.read("node", "table_scan", given(input)).await?;
        let rows = answer.items("rows");
        if rows.is_empty() && !context.screen.json() {
            let behind = if self.cursor.is_some() {
                " behind the cursor"
            } else {
                ""
            };
            context
                .screen
                .note(&format!("{} has no rows{behind}", self.table));
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| {
            rows.iter()
                .map(|row| {
                    let key = &row["key"];
                    let key = [key.text("hash"), key.text("range")].join(" ");
                    format!(
                        "{}{}\n",
                        look.heading(key.trim_end()),
                        attributes(&row["row"], look)
                    )
                })
                .collect()
        })?;
        if answer.has("cursor") {
            context.screen.note(&format!(
                "there is more: pantherctl table scan {} --cursor {}",
                self.table,
                answer.text("cursor")
            ));
        }
        Ok(Exit::Fine)
    }
}
