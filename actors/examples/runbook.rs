//! Prints the run book, for `docs/runbook.md`.

use std::io::Write;

use panther_actors::catalogue::markdown;
use panther_actors::components::catalogue;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(markdown(catalogue()).as_bytes())
}
