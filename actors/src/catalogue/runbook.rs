//! The run book for operators, made from the catalogue.

use std::fmt::Write;

use super::{Built, Catalogue, Component};

/// The run book as Markdown, in the order of the catalogue.
#[must_use]
pub fn markdown(catalogue: &Catalogue) -> String {
    let mut out = String::from(
        "# Run book\n\nMade from the components' files (`actors/src/components/*/component.toml`); `pantherctl describe NAME` shows an entry with its present state.\n",
    );
    for component in &catalogue.components {
        entry(&mut out, component);
    }
    out.push_str("\n# Internal queues and tables\n\nOutside the 64: what the components need among themselves.\n");
    for component in &catalogue.internal {
        entry(&mut out, component);
    }
    out
}

fn entry(out: &mut String, component: &Component) {
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "\n## {}\n\n{}\n",
        component.identity(),
        component.function
    );
    if component.built != Built::Yes || !component.built_note.is_empty() {
        let state = match component.built {
            Built::Yes => "Built.",
            Built::Partly => "Partly built.",
            Built::No => "Not built yet.",
        };
        let _ = write!(out, "\n*{state} {}*\n", component.built_note);
    }
    for (title, items) in [
        ("Failure impact", &component.failure_impact),
        ("Recovery", &component.recovery),
    ] {
        if !items.is_empty() {
            let _ = write!(out, "\n{title}\n\n");
            for item in items {
                let _ = writeln!(out, "- {item}");
            }
        }
    }
    if let Some(queue) = &component.queue {
        let mut facts = Vec::new();
        facts.extend(
            queue
                .visibility_seconds
                .map(|seconds| format!("visibility {seconds} s")),
        );
        facts.push(format!("retention {} s", queue.retention_seconds));
        facts.extend(
            queue
                .max_receive_count
                .map(|count| format!("dead letter after {count} failures")),
        );
        facts.extend(
            queue
                .dlq
                .as_ref()
                .map(|dlq| format!("dead letters in `{dlq}`")),
        );
        facts.extend(
            queue
                .dead_letters_of
                .as_ref()
                .map(|of| format!("dead letters of `{of}`")),
        );
        let _ = write!(out, "\nAttributes: {}.\n", facts.join(", "));
    }
    for (title, names) in [("Reads", &component.reads), ("Writes", &component.writes)] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let _ = write!(out, "\n{title}: {}\n", names.join(", "));
        }
    }
    if !component.alarms.is_empty() {
        out.push_str("\nAlarms:\n\n");
        for alarm in &component.alarms {
            let _ = writeln!(
                out,
                "- {} ({}) above {} in {} period(s) of {} s",
                alarm.metric, alarm.statistic, alarm.threshold, alarm.periods, alarm.period_seconds
            );
        }
    }
}
