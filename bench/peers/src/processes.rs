//! Processor time of all processes of a contender: those whose command or environment names its folder.

use std::path::Path;
use std::time::Duration;

/// Ticks of /proc a second, on Linux.
const TICKS: u64 = 100;

/// What they have used so far.
pub fn cpu(folder: &Path) -> Duration {
    let wanted = folder.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Duration::ZERO;
    };
    let mut ticks = 0;
    for entry in entries.flatten() {
        let process = entry.path();
        let names = |file: &str| {
            std::fs::read(process.join(file))
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains(&wanted))
        };
        if entry.file_name() == std::process::id().to_string().as_str() {
            continue;
        }
        if names("cmdline") || names("environ") {
            ticks += used(&process);
        }
    }
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// Fields 14 and 15 of stat; the second field may hold spaces, and ends at the last bracket.
fn used(process: &Path) -> u64 {
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else {
        return 0;
    };
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return 0;
    };
    rest.split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}
