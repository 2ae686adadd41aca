//! panther-cluster beside etcd, RabbitMQ and NATS: three nodes each on this machine, one after the other in one run, the same load.
//!
//! * Table writes and linearizable reads: every client writes (or reads) rows of its own, one call at a time.
//! * Queue: as many messages are on their way as there are clients; each is sent, acknowledged to its sender, received, and ended with an answer where the system has one.
//!
//! Processor time is what all processes of a contender used, divided by the operations: clients are not in it.

mod contenders;
mod load;
mod processes;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use contenders::{Contender, Failure};
use load::{Cell, Measured};

/// Measures all contenders and prints a table.
#[derive(Debug, Parser)]
struct Cli {
    /// The folder of the peers' scripts
    #[arg(long)]
    scripts: PathBuf,
    /// The folder of pantherd and pantherctl
    #[arg(long)]
    bin: PathBuf,
    /// Where the contenders' data go: a folder on a real disk
    #[arg(long)]
    data: PathBuf,
    /// Seconds of one cell
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Clients
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
    /// Bytes of a body
    #[arg(long, value_delimiter = ',', default_value = "256,1024")]
    bytes: Vec<usize>,
    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(&cli))
}

async fn measure(cli: &Cli) -> Result<(), Failure> {
    let mut all: Vec<(&str, Cell, Measured)> = Vec::new();
    for contender in Contender::ALL {
        if !cli.only.is_empty() && !cli.only.iter().any(|name| name == contender.name()) {
            continue;
        }
        let folder = cli.data.join(contender.name());
        contender.script(&cli.scripts, &cli.bin, "start", &folder)?;
        let measured = cells(cli, contender, &folder).await;
        contender.script(&cli.scripts, &cli.bin, "stop", &folder)?;
        all.extend(measured?);
    }
    print_table(&all);
    Ok(())
}

async fn cells(
    cli: &Cli,
    contender: Contender,
    folder: &std::path::Path,
) -> Result<Vec<(&'static str, Cell, Measured)>, Failure> {
    let endpoints = contender.script(&cli.scripts, &cli.bin, "endpoints", folder)?;
    let endpoints: Vec<String> = endpoints.trim().split(',').map(str::to_owned).collect();
    let mut measured = Vec::new();
    for &kind in contender.kinds() {
        for &bytes in &cli.bytes {
            for &clients in &cli.clients {
                let cell = Cell {
                    kind,
                    bytes,
                    clients,
                };
                let before = processes::cpu(folder);
                let mut result = contenders::run(
                    contender,
                    &endpoints,
                    cell,
                    Duration::from_secs(cli.seconds),
                )
                .await?;
                result.cpu = processes::cpu(folder).saturating_sub(before);
                eprintln!("{:<18} {}", contender.name(), result.line(cell));
                measured.push((contender.name(), cell, result));
            }
        }
    }
    Ok(measured)
}

fn print_table(all: &[(&str, Cell, Measured)]) {
    println!("| what | bytes | clients | contender | a second | p50 ms | p99 ms | processor us |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut rows: Vec<_> = all.iter().collect();
    rows.sort_by_key(|(_, cell, _)| (cell.kind, cell.bytes, cell.clients));
    for (name, cell, measured) in rows {
        println!(
            "| {} | {} | {} | {name} | {:.0} | {:.2} | {:.2} | {:.0} |",
            cell.kind.name(),
            cell.bytes,
            cell.clients,
            measured.rate(),
            measured.ms(0.50),
            measured.ms(0.99),
            measured.cpu_us()
        );
    }
}
