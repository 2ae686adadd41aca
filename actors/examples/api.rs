//! Prints the page of all APIs, for `docs/api.md`.

use std::io::Write;

use panther_actors::api_table::markdown;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(markdown().as_bytes())
}
