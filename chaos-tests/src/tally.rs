//! All results of a run, counted through the public interfaces and checked for consistency: no loss, no duplicates, every object intact,
//! every alert at its threshold and with an event count that equals its stored matches.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::doors::LABELS;
use crate::node::{Node, count, items, text};
use crate::receiver::Receiver;
use crate::{During, Result};

/// An alert group: a rule with a dedup string, and RULE or RULE_ERROR. It has at most one open alert at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The rule.
    pub rule: String,
    /// The dedup string.
    pub dedup: String,
    /// RULE or RULE_ERROR.
    pub kind: String,
}

/// Alerts of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alerts {
    /// Number of alerts.
    pub alerts: u64,
    /// Sum of their event counts.
    pub events: u64,
    /// Recorded successful deliveries, by the name of the output.
    pub deliveries: BTreeMap<String, u64>,
}

/// A row of the deduplication table: the newest window of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Number of windows so far.
    pub alert_count: u64,
    /// Matches in this window.
    pub events: u64,
}

/// received, stored, quarantined, filtered.
pub type Ledger = [u64; 4];

/// The results that two correct runs with the same input have in common.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Stored matches per rule.
    pub matches: BTreeMap<String, u64>,
    /// Stored rule errors per rule.
    pub errors: BTreeMap<String, u64>,
    /// Alerts per group.
    pub alerts: BTreeMap<Group, Alerts>,
    /// The deduplication table.
    pub windows: BTreeMap<Group, Window>,
    /// The ledger per source.
    pub ledger: BTreeMap<String, Ledger>,
    /// The dedup period of each rule that matched, in minutes.
    pub periods: BTreeMap<String, u64>,
    /// Posts that the webhook received, including repeated ones.
    pub posts: u64,
    /// Alarms that were raised at any time, with their number. For the report only, without a check.
    pub alarms_seen: BTreeMap<String, u64>,
    /// Inconsistencies within this run.
    pub problems: Vec<String>,
}

/// Data that is read before it is counted.
struct Readings {
    alerts: Vec<Value>,
    windows: Vec<Value>,
    outputs: BTreeMap<String, String>,
    thresholds: BTreeMap<(String, String), u64>,
}

/// Lines of objects of one kind.
#[derive(Default)]
struct Lines {
    events: u64,
    /// Number of matches under each alert id, with its rule and RULE or RULE_ERROR.
    under: BTreeMap<String, (String, &'static str, u64)>,
}

impl Tally {
    /// Number of alerts of all groups.
    #[must_use]
    pub fn alert_count(&self) -> u64 {
        self.alerts.values().map(|alerts| alerts.alerts).sum()
    }

    /// Number of matches of all rules.
    #[must_use]
    pub fn match_count(&self) -> u64 {
        self.matches.values().sum()
    }

    /// Number of alerts per rule, without rule errors.
    #[must_use]
    pub fn alerts_by_rule(&self) -> BTreeMap<String, u64> {
        let mut by_rule = BTreeMap::new();
        for (group, alerts) in &self.alerts {
            if group.kind == "RULE" {
                *by_rule.entry(group.rule.clone()).or_default() += alerts.alerts;
            }
        }
        by_rule
    }

    /// Reads and counts all results. The node must be idle.
    ///
    /// # Errors
    /// The node does not answer. Inconsistent answers are listed in [`Tally::problems`].
    pub async fn take(node: &Node, receiver: &Receiver) -> Result<Self> {
        let mut tally = Self::default();
        let read = Readings::from(node).await?;
        let lines = tally.objects(node).await?;
        tally.ledger(node, lines.events).await?;
        tally.groups(&read, &lines.under);
        tally.deliveries(node, &read, receiver)?;
        tally.queues(node).await?;
        tally.health(node).await?;
        let rules: BTreeSet<String> = tally
            .matches
            .keys()
            .chain(tally.errors.keys())
            .cloned()
            .collect();
        for rule in rules {
            let shown = node.ctl(&["detections", "show", &rule]).await?;
            tally
                .periods
                .insert(rule, count(&shown, "dedupPeriodMinutes"));
        }
        Ok(tally)
    }

    fn wrong(&mut self, what: String) {
        self.problems.push(what);
    }

    /// Checks that every object that a row names exists and is intact, and that no event and no match is stored twice.
    async fn objects(&mut self, node: &Node) -> Result<Lines> {
        let mut lines = Lines::default();
        let (mut events, mut matched) = (BTreeSet::new(), BTreeSet::new());
        for row in node.rows("panther-objects").await? {
            let name = text(&row["key"], "hash");
            let content = match std::fs::read(node.data().join("objects").join(&name)) {
                Ok(content) => content,
                Err(error) => {
                    self.wrong(format!(
                        "object {name} is named and cannot be read: {error}"
                    ));
                    continue;
                }
            };
            let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&content));
            if content.len() as u64 != count(&row["row"], "bytes")
                || hash != text(&row["row"], "hash")
            {
                self.wrong(format!(
                    "object {name} is not what its row says: {}",
                    row["row"]
                ));
                continue;
            }
            let folder = name.split('/').next().unwrap_or_default();
            if !matches!(folder, "logs" | "rules" | "rule_errors") {
                continue;
            }
            for line in unpack(&content).during(format!("unpacking {name}"))? {
                let id = text(&line, "p_row_id");
                let rule = text(&line, "p_rule_id");
                let kind = match folder {
                    "logs" => {
                        lines.events += 1;
                        if !events.insert(id.clone()) {
                            self.wrong(format!(
                                "event {id} is stored twice, the second time in {name}"
                            ));
                        }
                        continue;
                    }
                    "rules" => {
                        *self.matches.entry(rule.clone()).or_default() += 1;
                        "RULE"
                    }
                    _ => {
                        *self.errors.entry(rule.clone()).or_default() += 1;
                        "RULE_ERROR"
                    }
                };
                if !matched.insert((rule.clone(), kind, id.clone())) {
                    self.wrong(format!("the match of {rule} with event {id} is stored twice, the second time in {name}"));
                }
                if let Some(alert) = line["p_alert_id"].as_str() {
                    let under = lines.under.entry(alert.to_owned());
                    under.or_insert((rule, kind, 0)).2 += 1;
                }
            }
        }
        for (rule, kind, id) in matched {
            if !events.contains(&id) {
                self.wrong(format!(
                    "{rule} has a {kind} match with event {id}, which is not stored"
                ));
            }
        }
        Ok(lines)
    }

    async fn ledger(&mut self, node: &Node, events: u64) -> Result<()> {
        let sources = node.ctl(&["sources", "list"]).await?;
        for source in items(&sources, "integrations") {
            let label = text(source, "integrationLabel");
            let sums @ [received, stored, quarantined, filtered] =
                ["received", "stored", "quarantined", "filtered"].map(|name| count(source, name));
            if received != stored + quarantined + filtered {
                self.wrong(format!("source {label} does not add up: {received} received, {stored} stored, {quarantined} quarantined, {filtered} filtered"));
            }
            self.ledger.insert(label, sums);
        }
        let stored: u64 = self.ledger.values().map(|sums| sums[1]).sum();
        if stored != events {
            self.wrong(format!(
                "the ledger says that {stored} events are stored, and the objects hold {events}"
            ));
        }
        if LABELS.iter().any(|label| !self.ledger.contains_key(*label)) {
            self.wrong(format!(
                "a source is gone: {:?} are left",
                self.ledger.keys()
            ));
        }
        Ok(())
    }

    /// Checks that an alert exists if and only if its matches reach the threshold, and that its event count equals the number of events
    /// stored under it.
    fn groups(&mut self, read: &Readings, under: &BTreeMap<String, (String, &'static str, u64)>) {
        let mut left = under.clone();
        for alert in &read.alerts {
            let (id, group) = (
                text(alert, "alertId"),
                group(alert, "ruleId", "dedupString"),
            );
            let events = count(alert, "eventsMatched");
            match left.remove(&id) {
                Some((rule, kind, matches)) if rule == group.rule && kind == group.kind => {
                    if matches != events {
                        self.wrong(format!("alert {id} of {rule} counts {events} events, and {matches} matches are stored under it"));
                    }
                }
                other => self.wrong(format!(
                    "alert {id} of {} has no matches stored under it ({other:?})",
                    group.rule
                )),
            }
            let sums = self.alerts.entry(group).or_default();
            sums.alerts += 1;
            sums.events += events;
        }
        for (id, (rule, kind, matches)) in left {
            match read.thresholds.get(&(rule.clone(), kind.to_owned())) {
                Some(threshold) if matches < *threshold => {}
                Some(threshold) => self.wrong(format!("{matches} {kind} matches of {rule} are stored under {id}, the threshold is {threshold}, and there is no such alert")),
                None => self.wrong(format!("{rule} has {kind} matches under {id} and no row of deduplication")),
            }
        }
        for row in &read.windows {
            let row = &row["row"];
            let window = Window {
                alert_count: count(row, "alertCount"),
                events: count(row, "eventCount"),
            };
            if let Some((_, _, matches)) = under.get(&text(row, "alertId"))
                && *matches != window.events
            {
                self.wrong(format!("deduplication counts {} events for {row}, and {matches} matches are stored under its alert", window.events));
            }
            let group = group(row, "ruleId", "dedup");
            if self.windows.insert(group.clone(), window).is_some() {
                self.wrong(format!("two rows of deduplication for {group:?}"));
            }
        }
    }

    /// Checks that every recorded delivery reached its destination, that each destination has one recorded success per alert, and that
    /// every received alert exists.
    fn deliveries(&mut self, node: &Node, read: &Readings, receiver: &Receiver) -> Result<()> {
        let mut arrived: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        arrived.insert("webhook", receiver.received());
        self.posts = receiver.received().values().sum();
        let lines = std::fs::read_to_string(delivered(node)).unwrap_or_default();
        let in_file = arrived.entry("file").or_default();
        for line in lines.lines() {
            let alert: Value = serde_json::from_str(line).during("reading the file of alerts")?;
            *in_file.entry(text(&alert, "alertId")).or_default() += 1;
        }
        for alert in &read.alerts {
            let id = text(alert, "alertId");
            let mut succeeded: BTreeMap<String, u64> = BTreeMap::new();
            for attempt in items(alert, "deliveryResponses") {
                let output = text(attempt, "outputId");
                let output = read.outputs.get(&output).cloned().unwrap_or(output);
                if attempt["success"] == true {
                    *succeeded.entry(output).or_default() += 1;
                } else {
                    self.wrong(format!(
                        "alert {id} has a failed attempt on record: {attempt}"
                    ));
                }
            }
            for (output, times) in &succeeded {
                let came = arrived
                    .get(output.as_str())
                    .and_then(|came| came.get(&id))
                    .copied()
                    .unwrap_or(0);
                if *times != 1 || came == 0 {
                    self.wrong(format!("alert {id}: {times} successful attempts at {output} on record, and it came there {came} times"));
                }
            }
            let sums = self
                .alerts
                .entry(group(alert, "ruleId", "dedupString"))
                .or_default();
            for (output, times) in succeeded {
                *sums.deliveries.entry(output).or_default() += times;
            }
        }
        let known: BTreeSet<String> = read
            .alerts
            .iter()
            .map(|alert| text(alert, "alertId"))
            .collect();
        for (output, came) in arrived {
            for id in came.keys().filter(|id| !known.contains(*id)) {
                self.problems
                    .push(format!("{output} got alert {id}, which does not exist"));
            }
        }
        Ok(())
    }

    /// Checks that no message waits, that the dead letter queues are empty, and that every accepted message ended in exactly one way.
    async fn queues(&mut self, node: &Node) -> Result<()> {
        let queues = node.ctl(&["queue", "ls"]).await?;
        for queue in items(&queues, "queues") {
            let name = text(queue, "name");
            let of = |names: &[&str]| names.iter().map(|name| count(queue, name)).sum::<u64>();
            let here = of(&["waiting", "delayed", "in_flight"]);
            if here > 0 {
                self.wrong(format!("{name} is not empty: {queue}"));
            }
            let gone = of(&[
                "done",
                "dead_lettered",
                "expired",
                "purged",
                "moved_out",
                "coalesced",
                "deduplicated",
            ]);
            if of(&["accepted"]) != gone + here {
                self.wrong(format!("{name} does not add up: {queue}"));
            }
            if of(&["expired", "purged", "moved_out"]) > 0 {
                self.wrong(format!(
                    "{name} lost messages to something that nobody did: {queue}"
                ));
            }
        }
        Ok(())
    }

    async fn health(&mut self, node: &Node) -> Result<()> {
        let status = node.ctl(&["status"]).await?;
        if status["health"] == "failing" {
            self.wrong(format!("the node is failing: {}", status["problems"]));
        }
        for problem in items(&status, "problems") {
            if !is_of_the_machine(problem.as_str().unwrap_or_default()) {
                self.wrong(format!("the node has a problem: {problem}"));
            }
        }
        let alarms = node.ctl(&["alarms", "--all"]).await?;
        for alarm in items(&alarms, "alarms") {
            self.alarms_seen
                .insert(text(alarm, "name"), count(alarm, "times_raised"));
        }
        Ok(())
    }
}

/// True if an alarm is about the disk of the machine that runs the test, which the run does not control.
#[must_use]
pub fn is_of_the_machine(alarm: &str) -> bool {
    alarm.starts_with("node: disk_nearly_full")
}

impl Readings {
    async fn from(node: &Node) -> Result<Self> {
        let alerts = node.ctl(&["alerts", "list", "--limit", "100000"]).await?;
        let windows = node.rows("panther-log-alert-dedup").await?;
        let outputs = node.ctl(&["outputs", "list"]).await?;
        let thresholds = windows.iter().map(|row| {
            let row = &row["row"];
            (
                (text(row, "ruleId"), text(row, "type")),
                count(row, "threshold"),
            )
        });
        Ok(Self {
            thresholds: thresholds.collect(),
            alerts: items(&alerts, "alertSummaries").to_vec(),
            outputs: items(&outputs, "outputs")
                .iter()
                .map(|output| (text(output, "outputId"), text(output, "displayName")))
                .collect(),
            windows,
        })
    }
}

/// The file of a run's file output.
#[must_use]
pub fn delivered(node: &Node) -> std::path::PathBuf {
    node.folder().join("alerts.ndjson")
}

fn group(value: &Value, rule: &str, dedup: &str) -> Group {
    Group {
        rule: text(value, rule),
        dedup: text(value, dedup),
        kind: text(value, "type"),
    }
}

fn unpack(content: &[u8]) -> std::io::Result<Vec<Value>> {
    let mut lines = String::new();
    MultiGzDecoder::new(content).read_to_string(&mut lines)?;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).map_err(std::io::Error::other))
        .collect()
}
