//! pantherctl: the operator's and the detection engineer's tool.
//!
//! It speaks to a node over its Unix socket and knows nothing but the operations that the node offers; packs and schemas it tests by itself.
//! Data goes to standard output, everything else to standard error. Exit codes: 0 fine, 1 findings or failures, 2 bad detections or input,
//! 3 bad configuration.

mod answer;
mod cli;
mod client;
mod commands;
mod confirm;
mod failure;
mod input;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cli::Cli;
use failure::{Exit, Failure};

/// As in pantherd: a pack and its tests are many small pieces, made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long the process waits at its end for what is still under way: an engine that was interrupted removes its folder. Something that waits for a terminal must
/// not keep it.
const END: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = cli.context();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new("cannot start").why(format!(
                "this process gets no threads or timers from the system: {error}"
            ))
        })
        .and_then(|runtime| {
            let outcome = runtime.block_on(commands::run(cli.command, &context));
            runtime.shutdown_timeout(END);
            outcome
        });
    let exit = outcome.unwrap_or_else(|failure| {
        context.screen.failure(&failure);
        failure.exit()
    });
    Exit::into(exit)
}
