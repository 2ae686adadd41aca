//! status, health, version, snapshot: the node as a whole.

use serde_json::{Value, json};

use super::Context;
use crate::{
    answer::{Answer, Fields},
    client::Call,
    failure::{Exit, Failure},
    output::{Details, Look, Tone, ago, bytes, counted, one_line, span},
};

/// `status`.
pub(super) async fn status(context: &Context) -> Result<Exit, Failure> {
    let answer = context.read("node", "status", json!({})).await?;
    context.screen.show(&answer, |look| render(&answer, look))?;
    Ok(Exit::Fine)
}

/// `health`: the exit code is the answer, the problems are its reasons.
pub(super) async fn health(context: &Context) -> Result<Exit, Failure> {
    let answer = context.read("node", "status", json!({})).await?;
    context.screen.show(&answer, |look| {
        let health = answer.text("health");
        let mut text = format!("{}\n", look.toned(tone(&health), &health));
        text.push_str(&by_itself(&answer, look));
        text.push_str(&problems(&answer));
        text
    })?;
    Ok(if answer.text("health") == "ok" {
        Exit::Fine
    } else {
        Exit::Findings
    })
}

/// `version`: ours, and the node's if it can be reached.
pub(super) async fn version(context: &Context) -> Result<Exit, Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let status = context.read("node", "status", json!({})).await;
    let node = status.as_ref().map(|status| status.text("version")).ok();
    let answer = Answer::of(json!({"pantherctl": own, "pantherd": node}));
    context.screen.show(&answer, |_| match &node {
        Some(node) => format!("pantherctl {own}\npantherd   {}\n", one_line(node)),
        None => format!("pantherctl {own}\n"),
    })?;
    if let Err(error) = status {
        context.screen.failure(&error.into());
    }
    Ok(Exit::Fine)
}

/// `resume`.
pub(super) async fn resume(context: &Context) -> Result<Exit, Failure> {
    let answer = context.change("node", "resume", json!({})).await?;
    context.screen.show(&answer, |_| {
        if answer["was_paused"] == true {
            "alerts are delivered and folders are watched from now on\n".to_owned()
        } else {
            "the cluster was not paused\n".to_owned()
        }
    })?;
    Ok(Exit::Fine)
}

/// `snapshot`.
pub(super) async fn snapshot(context: &Context) -> Result<Exit, Failure> {
    let call = Call::change("node", "snapshot", json!({}));
    let answer = context.client.invoke(call).await?;
    context
        .screen
        .show(&answer, |_| "snapshot taken\n".to_owned())?;
    Ok(Exit::Fine)
}

fn tone(health: &str) -> Tone {
    match health {
        "ok" => Tone::Good,
        "degraded" => Tone::Warning,
        _ => Tone::Bad,
    }
}

/// A line above what a node shows that hears no leader; empty if the cluster stands behind it.
pub(super) fn by_itself(answer: &Value, look: &Look) -> String {
    if answer["local"] != true {
        return String::new();
    }
    let reason = one_line(&answer.text("local_reason"));
    let text = format!("only what this node knows by itself, which may be out of date: {reason}");
    format!("{}\n", look.toned(Tone::Bad, &text))
}

fn problems(answer: &Value) -> String {
    listed(answer.items("problems"))
}

fn listed(sentences: &[Value]) -> String {
    sentences
        .iter()
        .filter_map(Value::as_str)
        .map(|sentence| format!("- {}\n", one_line(sentence)))
        .collect()
}

fn render(answer: &Value, look: &Look) -> String {
    let (node, cluster) = (&answer["node"], &answer["cluster"]);
    let (components, queues, pack) = (&answer["components"], &answer["queues"], &answer["pack"]);
    let health = answer.text("health");
    let leader = cluster.text("leader");
    let leads = match leader.as_str() {
        "" => (
            Tone::Bad,
            "none: nothing can be changed until there is one".to_owned(),
        ),
        id if id == node.text("id") => (
            Tone::Plain,
            format!("this node, in term {}", cluster.text("term")),
        ),
        id => (
            Tone::Plain,
            format!("node {id}, in term {}", cluster.text("term")),
        ),
    };
    let open = components.number("open");
    let dead = queues.number("dead_letters");
    let raised = answer.number("alarms_raised");
    let alarming = |count: i64, tone: Tone| if count == 0 { Tone::Plain } else { tone };
    let mut details = Details::default();
    details.toned("health", tone(&health), &health);
    if answer.has("paused_since_ms") {
        let since = ago(look.now, answer.instant("paused_since_ms"));
        details.toned(
            "paused",
            Tone::Warning,
            format!("since {since}: no alert is delivered and no folder is watched; `pantherctl resume` ends it"),
        );
    }
    details
        .add(
            "node",
            format!(
                "{} (id {}), pantherd {}, up {}",
                node.text("name"),
                node.text("id"),
                answer.text("version"),
                span(node.number("uptime_ms"))
            ),
        )
        .add("data", node.text("data_dir"))
        .toned("leader", leads.0, leads.1)
        .add("voters", cluster.text("voters"))
        .add(
            "log",
            format!(
                "applied {} of {}{}, {}, {}",
                cluster.text("applied"),
                cluster.text("last_log"),
                match cluster.text("last_term").as_str() {
                    "" => String::new(),
                    term => format!(" (term {term})"),
                },
                match cluster.number("snapshot") {
                    0 => "no snapshot yet".to_owned(),
                    index => format!("snapshot at {index}"),
                },
                bytes(cluster.number("log_bytes"))
            ),
        )
        .add(
            "state",
            format!(
                "{}, format {}, hash {}",
                bytes(cluster.number("state_bytes")),
                cluster.text("format"),
                cluster.text("hash")
            ),
        )
        .toned("fault", Tone::Bad, cluster.text("fault"))
        .toned(
            "components",
            alarming(open, Tone::Bad),
            format!(
                "{} running, {} restarting, {open} given up, {} not built",
                components.number("running"),
                components.number("restarting"),
                components.number("not_built")
            ),
        )
        .toned(
            "queues",
            alarming(dead, Tone::Warning),
            format!(
                "{} waiting, {} in flight, {}",
                queues.number("waiting"),
                queues.number("in_flight"),
                counted(dead, "dead letter")
            ),
        )
        .toned(
            "alarms",
            alarming(raised, Tone::Bad),
            format!("{raised} raised"),
        )
        .add(
            "pack",
            if pack["loaded"] == false {
                format!("{}: not loaded on this node", pack.text("version"))
            } else if answer.has("pack") {
                format!(
                    "{} ({}, {})",
                    pack.text("version"),
                    counted(pack.number("rules"), "rule"),
                    counted(pack.number("policies"), "policy")
                )
            } else {
                "none: `pantherctl detections upload DIR` brings one".to_owned()
            },
        )
        .add(
            "detections",
            super::detections::states(&answer["detections"]),
        )
        .add("python", answer.text("python"));
    let mut text = details.render(look);
    let unenforced = answer.items("unenforced");
    if !unenforced.is_empty() {
        text.push_str(&look.heading("not enforced on this node"));
        text.push_str(&listed(unenforced));
    }
    if !answer.items("problems").is_empty() {
        text.push_str(&look.heading("problems"));
        text.push_str(&problems(answer));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_at_a_glance() {
        let answer = json!({
            "version": "0.1.0",
            "node": {"id": 1, "name": "one", "session": "s", "uptime_ms": 7_200_000, "data_dir": "/var/lib/panther"},
            "cluster": {"leader": 1, "term": 2, "voters": [1], "applied": 10, "last_log": 10, "snapshot": null, "hash": "ab",
                "time_ms": 0, "format": 1, "log_bytes": 5000, "state_bytes": 0, "fault": null},
            "health": "degraded", "problems": ["a queue has dead letters"],
            "components": {"running": 22, "restarting": 0, "open": 0, "not_built": 42},
            "queues": {"waiting": 1, "in_flight": 0, "dead_letters": 1},
            "alarms_raised": 1, "pack": {"version": "v", "rules": 14, "policies": 1}, "detections": {"live": 12, "no-source": 3}, "python": "3.11.7",
            "unenforced": ["rules can read every file: this kernel has no Landlock"]
        });
        let shown = render(&answer, &Look::plain_at(0));
        for line in [
            "health      degraded\n",
            "node        one (id 1), pantherd 0.1.0, up 2 h\n",
            "leader      this node, in term 2\n",
            "log         applied 10 of 10, no snapshot yet, 5.0 kB\n",
            "queues      1 waiting, 0 in flight, 1 dead letter\n",
            "pack        v (14 rules, 1 policy)\n",
            "detections  12 live, 3 no-source\n",
            "- a queue has dead letters\n",
            "- rules can read every file: this kernel has no Landlock\n",
        ] {
            assert!(shown.contains(line), "{line:?} is not in\n{shown}");
        }
    }

    #[test]
    fn a_status_of_another_version_is_shown_all_the_same() {
        let shown = render(&json!({}), &Look::plain_at(0));
        assert!(shown.contains("none: nothing can be changed"), "{shown}");
    }
}
