//! cluster: the nodes, who votes and leads; inviting, draining, replacing and removing them.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Context, given};
use crate::{
    answer::{Answer, Fields},
    confirm::Consent,
    failure::{Exit, Failure},
    input,
    output::{Cell, Details, Grid, Look, Tone, span},
};

/// A clock is called off from here on, in milliseconds.
const CLOCK_OFF_MS: i64 = 1_000;

/// `cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// The nodes: who votes and leads, who is behind or silent
    #[command(alias = "nodes")]
    Status,
    /// Make an invitation for one node, to be given to `pantherd join` on its machine
    Invite(Invite),
    /// Take the work from a node: it receives nothing and does not lead; `--back` gives it back
    Drain(Drain),
    /// Take a node out for good
    Remove(Remove),
    /// How many nodes vote, if there are enough: 1, 3 or 5
    Voters(Voters),
    /// Let another voter lead
    TransferLeader(Node),
    /// Replace the cluster's authority: certificates of removed machines are good for nothing then
    RotateAuthority(RotateAuthority),
    /// Write the newest format that all nodes know, once all are upgraded; older builds cannot come back then
    RaiseFormat,
    /// Set cluster time forward to this node's clock, which is right though cluster time does not follow it
    AcceptTime(Consent),
    /// Set cluster time back to this node's clock, where a wrong clock has led it ahead
    ForceTime(Consent),
}

/// `cluster invite`.
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// How long it is good, such as 30m or 2h
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = input::span)]
    valid: u64,
    /// The new node takes the place of this one once it has caught up
    #[arg(long, value_name = "NODE")]
    replace: Option<u64>,
}

/// A node.
#[derive(Debug, Args)]
pub(crate) struct Node {
    /// Its number
    node: u64,
}

/// `cluster drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Its number
    node: u64,
    /// Give the work back; takes back a node that is being removed, too
    #[arg(long)]
    back: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Whether to wait for what was asked for.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Wait until it is done, at most for TIME
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2m", value_parser = input::span)]
    wait: Option<u64>,
}

/// `cluster remove`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Its number
    node: u64,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    wait: Wait,
}

/// `cluster rotate-authority`.
#[derive(Debug, Args)]
pub(crate) struct RotateAuthority {
    #[command(flatten)]
    wait: Wait,
}

/// `cluster voters`.
#[derive(Debug, Args)]
pub(crate) struct Voters {
    /// 1, 3 or 5
    voters: u64,
}

impl Cluster {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Status => status(context).await,
            Self::Invite(invite) => invite.run(context).await,
            Self::Drain(Drain { node, back, wait }) => {
                let input = json!({"node": node, "drained": !back});
                let answer = context.change("node", "cluster_drain", input).await?;
                context.screen.show(&answer, |_| match back {
                    true => format!("asked: node {node} is to receive messages again\n"),
                    false => format!(
                        "asked: node {node} is to receive no more messages and to hand over what only one node does; what it holds it ends\n"
                    ),
                })?;
                let done = |of: &Value| match back {
                    true => of.text("standing") == "member",
                    false => of.text("standing") == "draining" && of.text("role") != "leader",
                };
                wait.until(context, node, done).await
            }
            Self::Remove(remove) => remove.run(context).await,
            Self::Voters(Voters { voters }) => {
                let answer = context
                    .change("node", "cluster_voters", json!({"voters": voters}))
                    .await?;
                context.screen.show(&answer, |_| {
                    format!("{voters} nodes vote as soon as so many have caught up\n")
                })?;
                Ok(Exit::Fine)
            }
            Self::RotateAuthority(RotateAuthority { wait }) => {
                let answer = context
                    .change("node", "cluster_rotate_authority", json!({}))
                    .await?;
                context.screen.show(&answer, |_| {
                    "asked: the cluster gets a new authority. Each node follows in three steps while the cluster works on; `pantherctl cluster status` shows which nodes are waited for, --wait waits. Invitations of before are good for nothing\n".to_owned()
                })?;
                wait.until_rotated(context).await
            }
            Self::RaiseFormat => {
                let answer = context
                    .change("node", "cluster_raise_format", json!({}))
                    .await?;
                context.screen.show(&answer, |_| {
                    format!("format {} is in force\n", answer.text("format"))
                })?;
                Ok(Exit::Fine)
            }
            Self::AcceptTime(consent) => set_time(context, consent, Way::Forward).await,
            Self::ForceTime(consent) => set_time(context, consent, Way::Back).await,
            Self::TransferLeader(Node { node }) => {
                let answer = context
                    .change("node", "cluster_lead", json!({"node": node}))
                    .await?;
                context
                    .screen
                    .show(&answer, |_| format!("node {node} leads\n"))?;
                Ok(Exit::Fine)
            }
        }
    }
}

/// Where cluster time is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

fn utc(ms: i64) -> String {
    let at = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What setting cluster time does.
fn time_plan(before: &Value, way: Way) -> String {
    let (time, clock) = (before.number("time_ms"), before.number("clock_ms"));
    let (what, then) = match way {
        Way::Forward => (
            "forward",
            "What was due in between expires step by step: nothing of it within a minute",
        ),
        Way::Back => (
            "back",
            "Waiting and delayed messages, sessions and deduplication are moved back with it; alerts and rows keep the dates that were written into them",
        ),
    };
    format!(
        "cluster time is {}, and this node's clock says {}: cluster time is set {what} by {}. {then}. Is this clock right?",
        utc(time),
        utc(clock),
        span((clock - time).abs())
    )
}

async fn set_time(context: &Context, consent: Consent, way: Way) -> Result<Exit, Failure> {
    let before = context.read("node", "cluster", json!({})).await?;
    consent.ask(context, &time_plan(&before, way)).await?;
    let operation = match way {
        Way::Forward => "cluster_accept_time",
        Way::Back => "cluster_force_time",
    };
    let answer = context.change("node", operation, json!({})).await?;
    context.screen.show(&answer, |_| {
        let (from, to) = (answer.number("from_ms"), answer.number("to_ms"));
        format!("cluster time is {}; it was {}\n", utc(to), utc(from))
    })?;
    Ok(Exit::Fine)
}

async fn status(context: &Context) -> Result<Exit, Failure> {
    let answer = context.read("node", "cluster", json!({})).await?;
    context.screen.show(&answer, |look| render(&answer, look))?;
    Ok(Exit::Fine)
}

impl Invite {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = given(json!({"valid_seconds": self.valid, "replaces": self.replace}));
        let answer = context.change("node", "cluster_invite", input).await?;
        context.screen.note(&format!(
            "on the new machine, with cluster.listen set in its configuration: `pantherd join TOKEN`, then start pantherd. Good once, for {}{}. Whoever has it can become a node",
            span(answer.number("valid_seconds").saturating_mul(1_000)),
            match self.replace {
                Some(old) => format!("; node {old} is removed once the new one has caught up"),
                None => String::new(),
            }
        ));
        context
            .screen
            .show(&answer, |_| format!("{}\n", answer.text("token")))?;
        Ok(Exit::Fine)
    }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let node = self.node;
        let before = context.read("node", "cluster", json!({})).await?;
        self.consent.ask(context, &plan(&before, node)).await?;
        let answer = context
            .change("node", "cluster_remove", json!({"node": node}))
            .await?;
        let waits = self.wait.wait.is_some();
        context.screen.show(&answer, |_| match waits {
            true => format!("asked: node {node} is to be removed\n"),
            false => format!(
                "asked: node {node} is to be removed. Leave its machine on until `pantherctl cluster status` shows it as removed; --wait waits for that\n"
            ),
        })?;
        let removed = |of: &Value| of.text("standing") == "removed";
        self.wait.until(context, node, removed).await
    }
}

/// How often it is looked whether what was asked for is done.
const LOOK: Duration = Duration::from_millis(500);

impl Wait {
    /// Waits, if that is asked for, until a node is as it should be.
    async fn until(
        &self,
        context: &Context,
        node: u64,
        done: impl Fn(&Value) -> bool,
    ) -> Result<Exit, Failure> {
        let Some(seconds) = self.wait else {
            return Ok(Exit::Fine);
        };
        let until = Instant::now() + Duration::from_secs(seconds);
        let number = i64::try_from(node).unwrap_or(-1);
        let mut last = None;
        loop {
            match context.read("node", "cluster", json!({})).await {
                Ok(cluster) => {
                    let nodes = cluster.items("nodes").iter();
                    let of = nodes.clone().find(|of| of.number("node") == number);
                    if of.is_none_or(&done) {
                        context.screen.note("done");
                        return Ok(Exit::Fine);
                    }
                    last = of.cloned();
                }
                // The node that is asked may be the one that goes, and then ends.
                Err(error)
                    if error.code.is_none()
                        && last.as_ref().is_some_and(|of| of["this"] == true) =>
                {
                    context.screen.note(&format!(
                        "node {node}, which was asked, has ended, as a removed node does; `pantherctl cluster status` at another node shows how it stands"
                    ));
                    return Ok(Exit::Fine);
                }
                Err(_) => {}
            }
            if Instant::now() >= until {
                return Err(not_yet(node, seconds, last.as_ref()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Wait {
    /// Waits, if that is asked for, until the new authority is the only one.
    async fn until_rotated(&self, context: &Context) -> Result<Exit, Failure> {
        let Some(seconds) = self.wait else {
            return Ok(Exit::Fine);
        };
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            let mut waits_for = "the cluster gives no answer".to_owned();
            if let Ok(cluster) = context.read("node", "cluster", json!({})).await {
                let Some(rotation) = rotation(&cluster) else {
                    context.screen.note("done");
                    return Ok(Exit::Fine);
                };
                waits_for = rotation;
            }
            if Instant::now() >= until {
                return Err(Failure::new("it is asked, and not done yet")
                    .why(waits_for)
                    .next("it goes on by itself once these nodes are there; a node that does not come back has to be removed (`pantherctl cluster remove`)"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// How far the replacement of the authority is, if it is under way.
fn rotation(cluster: &Answer) -> Option<String> {
    let rotation = &cluster["rotation"];
    let doing = match rotation.text("step").as_str() {
        "believe" => "believes it beside the old one",
        "show" => "shows its certificates",
        "alone" => "believes no other one",
        _ => return None,
    };
    let nodes = rotation.items("waits_for").iter();
    let nodes: Vec<String> = nodes.map(ToString::to_string).collect();
    Some(match nodes.as_slice() {
        [] => "a new authority: all nodes have taken this step".to_owned(),
        nodes => format!(
            "a new authority: waiting until node {} {doing}",
            nodes.join(", ")
        ),
    })
}

fn not_yet(node: u64, seconds: u64, last: Option<&Value>) -> Failure {
    let standing = last.map(|of| of.text("standing")).unwrap_or_default();
    let waits_for = last.map(|of| of.text("waits_for")).unwrap_or_default();
    let why = match (standing.as_str(), waits_for.as_str()) {
        ("", _) => "the cluster gives no answer".to_owned(),
        (standing, "") => format!("node {node} is {standing}"),
        (standing, reason) => format!("node {node} is {standing}: {reason}"),
    };
    Failure::new("it is asked, and not done yet")
        .tried(format!(
            "waiting {}",
            span(
                i64::try_from(seconds)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(1_000)
            )
        ))
        .why(why)
        .next("it goes on by itself; `pantherctl alarms` says after a minute what it waits for")
}

/// What a removal leaves.
fn plan(cluster: &Value, node: u64) -> String {
    let stays = |other: &&Value| {
        other.number("node") != i64::try_from(node).unwrap_or(-1)
            && other.text("standing") == "member"
    };
    let left = cluster.items("nodes").iter().filter(stays).count();
    let survives = match left {
        0..=2 => "one of them votes, and its loss stops the cluster",
        3 | 4 => "three of them vote, and the loss of one is survived",
        _ => "as many of them vote as now",
    };
    format!(
        "node {node} is taken out for good: its number is never used again, and to come back its machine has to join anew with an empty folder. {left} nodes stay: {survives}"
    )
}

fn render(cluster: &Answer, look: &Look) -> String {
    let mut text = super::status::by_itself(cluster, look);
    let local = !text.is_empty();
    let leader = cluster.text("leader");
    let mut details = Details::default();
    match leader.as_str() {
        "" => details.toned(
            "leader",
            Tone::Bad,
            "none: nothing can be changed until there is one",
        ),
        id => details.add(
            "leader",
            format!("node {id}, in term {}", cluster.text("term")),
        ),
    };
    details.add(
        "voters",
        format!(
            "{} of {} wanted",
            cluster.items("voters").len(),
            cluster.text("voters_wanted")
        ),
    );
    if let Some(format) = newer_format(cluster) {
        details.toned("format", Tone::Warning, format);
    }
    if let Some(rotation) = rotation(cluster) {
        details.toned("authority", Tone::Warning, rotation);
    }
    text.push_str(&details.render(look));
    text.push('\n');
    // A log with a higher term goes further than any with a lower one; the terms matter only where one has to be chosen.
    let mut heads = vec!["#NODE", "NAME", "ADDRESS", "ROLE", "STANDING", "ALIVE"];
    heads.extend(local.then_some("#TERM"));
    heads.extend(["#LOG", "#APPLIED", "HASH", "#CLOCK", "VERSION"]);
    let mut grid = Grid::new(&heads);
    for node in cluster.items("nodes") {
        let mark = if node["this"] == true { " (this)" } else { "" };
        let mut row: Vec<Cell> = vec![
            node.number("node").into(),
            format!("{}{mark}", node.text("name")).into(),
            node.text("address").into(),
            role(node),
            standing(node),
            alive(node),
        ];
        row.extend(local.then(|| node.text("log_term").into()));
        row.extend([
            node.text("log").into(),
            node.text("applied").into(),
            node.text("hash").into(),
            clock(node),
            node.text("version").into(),
        ]);
        grid.row(row);
    }
    text.push_str(&grid.render(look));
    text
}

/// What to do about the format, if there is something: all nodes know a newer one, or some do.
fn newer_format(cluster: &Answer) -> Option<String> {
    let in_force = cluster.number("format");
    let known = || {
        let nodes = cluster.items("nodes").iter();
        let there = nodes.filter(|node| node.text("standing") != "removed" && node.has("format"));
        there.map(|node| node.number("format"))
    };
    let (oldest, newest) = (known().min()?, known().max()?);
    if oldest > in_force {
        return Some(format!(
            "{in_force}; all nodes know {oldest}: `pantherctl cluster raise-format` puts it in force"
        ));
    }
    (newest > in_force).then(|| {
        format!("{in_force}; some nodes know {newest}, which can be put in force once all do")
    })
}

fn role(node: &Value) -> Cell {
    if node.text("standing") == "removed" {
        return "-".to_owned().into();
    }
    node.text("role").into()
}

fn standing(node: &Value) -> Cell {
    let standing = node.text("standing");
    match standing.as_str() {
        "member" => standing.into(),
        "joining" => match node.text("replaces").as_str() {
            "" => Cell::toned(Tone::Warning, "joining"),
            old => Cell::toned(Tone::Warning, format!("joining for {old}")),
        },
        _ => Cell::toned(Tone::Warning, standing),
    }
}

fn alive(node: &Value) -> Cell {
    if node.text("standing") == "removed" {
        return "-".to_owned().into();
    }
    match node["alive"].as_bool() {
        Some(true) => Cell::toned(Tone::Good, "yes"),
        Some(false) => match node["silent_ms"].as_i64() {
            Some(ms) => Cell::toned(Tone::Bad, format!("silent {}", span(ms))),
            None => Cell::toned(Tone::Bad, "not heard"),
        },
        None => "?".to_owned().into(),
    }
}

fn clock(node: &Value) -> Cell {
    match node["clock_off_ms"].as_i64() {
        Some(off) if off.abs() >= CLOCK_OFF_MS => Cell::toned(Tone::Bad, format!("{off:+} ms")),
        Some(off) => format!("{off:+} ms").into(),
        None => String::new().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_is_not_done_in_time_is_said_with_what_it_waits_for() {
        let node = json!({"node": 1, "standing": "leaving", "waits_for": "it still votes: node 2 is silent"});
        let failure = not_yet(1, 120, Some(&node));
        assert_eq!(failure.exit(), Exit::Findings);
        let shown = failure.render(crate::output::Palette::PLAIN);
        for what in [
            "waiting 2 min",
            "node 1 is leaving: it still votes: node 2 is silent",
            "pantherctl alarms",
        ] {
            assert!(shown.contains(what), "{what}: {shown}");
        }
        let shown = not_yet(1, 1, None).render(crate::output::Palette::PLAIN);
        assert!(shown.contains("no answer"), "{shown}");
    }

    #[test]
    fn without_a_leader_the_lines_say_where_each_log_ends_and_how_old_that_is() {
        let cluster = Answer::of(json!({
            "leader": null, "term": 4, "voters": [1, 2, 3], "voters_wanted": 3, "local": true, "local_reason": "no leader is heard",
            "nodes": [
                {"node": 1, "name": "a", "address": "h1:8687", "standing": "member", "role": "voter", "this": true, "alive": true, "log": 24, "log_term": 4, "applied": 23, "version": "1"},
                {"node": 2, "name": "b", "address": "h2:8687", "standing": "member", "role": "voter", "alive": false, "silent_ms": 12_000, "log": 21, "version": "1"},
            ],
        }));
        let text = render(&cluster, &Look::plain_at(0));
        assert!(
            text.starts_with("only what this node knows by itself"),
            "{text}"
        );
        assert!(
            text.contains("no leader is heard") && text.contains("TERM"),
            "{text}"
        );
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(line("h1:8687").contains("4   24"), "{text}");
        assert!(line("h2:8687").contains("silent 12 s"), "{text}");
    }

    #[test]
    fn what_is_wrong_with_a_node_is_seen_in_its_line() {
        let cluster = Answer::of(json!({
            "leader": 1, "term": 4, "voters": [1, 2, 3], "voters_wanted": 3, "blind": null,
            "nodes": [
                {"node": 1, "name": "a", "address": "h1:8687", "standing": "member", "role": "leader", "this": true, "alive": true, "log": 90, "applied": 90, "hash": "00ff", "clock_off_ms": 0, "version": "1"},
                {"node": 3, "name": "c", "address": "h3:8687", "standing": "joining", "replaces": 2, "role": "follower", "alive": false, "silent_ms": 12_000, "clock_off_ms": -7_000, "version": "1"},
                {"node": 4, "name": "d", "address": "h4:8687", "standing": "removed", "role": "follower", "alive": null, "version": "1"},
            ],
        }));
        let text = render(&cluster, &Look::plain_at(0));
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(line("h1:8687").contains("leader"), "{text}");
        for what in ["joining for 2", "silent 12", "-7000 ms"] {
            assert!(line("h3:8687").contains(what), "{text}");
        }
        assert!(!line("h4:8687").contains("follower"), "{text}");
        assert!(
            plan(&cluster, 3).contains("1 nodes stay"),
            "{}",
            plan(&cluster, 3)
        );
    }
}
