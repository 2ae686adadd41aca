//! The steps of a random history. A step names objects by number; the numbers are resolved when the step is executed.

use std::collections::BTreeMap;

use panther_proto::v1::{
    Append, Condition, Declare, FeedSpec, IndexSpec, Key, QueueSpec, RowChange, Subscription,
    TableSpec, TextSet, TopicSpec, Update, Value, condition, update, value,
};
use proptest::prelude::*;

/// Cluster time at the start of every history.
pub(super) const START_MS: u64 = 1_000_000;
/// Encoded bytes of a message of the bounded queue: its id and an eight-byte body.
const TIGHT_BYTES: u64 = 2 + 16 + 2 + 8;

pub(super) const QUEUES: [&str; 6] = ["plain", "fair", "dedup", "tight", "feed", "dead"];
pub(super) const TABLES: [&str; 2] = ["rows", "names"];

pub(super) fn declaration() -> Declare {
    let queue = |name: &str| QueueSpec {
        name: name.into(),
        visibility_ms: 4_000,
        retention_ms: 20_000,
        max_receive_count: 3,
        dlq: "dead".into(),
        lonely_deaths: 2,
        fair: name == "fair",
        dedup_window_ms: if name == "dedup" { 3_000 } else { 0 },
        max_bytes: if name == "tight" { 3 * TIGHT_BYTES } else { 0 },
        ..QueueSpec::default()
    };
    let dead = QueueSpec {
        name: "dead".into(),
        visibility_ms: 4_000,
        retention_ms: 60_000,
        dead_letter: true,
        // Full from the first message on: no byte limit may keep a dead letter out of its queue.
        max_bytes: 1,
        ..QueueSpec::default()
    };
    let index = |name: &str, hash: &str, range: &str, unique| IndexSpec {
        name: name.into(),
        hash: hash.into(),
        range: range.into(),
        unique,
    };
    let indexes = || {
        vec![
            index("by-name", "name", "", true),
            index("by-rule", "rule", "n", false),
            index("by-tags", "tags", "", false),
        ]
    };
    let table = |name: &str, feeds| TableSpec {
        name: name.into(),
        indexes: indexes(),
        ttl_attribute: "expiresAt".into(),
        feeds,
    };
    Declare {
        version: 1,
        queues: QUEUES
            .iter()
            .map(|name| {
                if *name == "dead" {
                    dead.clone()
                } else {
                    queue(name)
                }
            })
            .collect(),
        tables: vec![
            table(
                "rows",
                vec![FeedSpec {
                    queue: "feed".into(),
                    coalesce_by: vec!["count".into()],
                }],
            ),
            table("names", Vec::new()),
        ],
        topics: vec![TopicSpec {
            name: "news".into(),
            subscriptions: vec![
                Subscription {
                    queue: "plain".into(),
                    filter: BTreeMap::from([(
                        "type".into(),
                        TextSet {
                            items: vec!["LogData".into(), "Other".into()],
                        },
                    )]),
                },
                Subscription {
                    queue: "fair".into(),
                    filter: BTreeMap::new(),
                },
            ],
        }],
    }
}

#[derive(Debug, Clone)]
pub(super) struct Sending {
    /// Index into [`QUEUES`]; past its end: the topic.
    pub(super) to: usize,
    pub(super) delay_ms: u64,
    /// 0 means absent, for this field and the next four.
    pub(super) dedup: u8,
    pub(super) coalesce: u8,
    pub(super) turn: u8,
    pub(super) group: u8,
    pub(super) kind: u8,
    /// True for a body that decodes as a feed record.
    pub(super) odd_body: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Vec<Sending>),
    Change(Vec<RowChange>),
    /// Has one of a few request ids, and an issue time before now.
    Request {
        id: u8,
        age_ms: u64,
        sends: Vec<Sending>,
        changes: Vec<RowChange>,
    },
    /// Completes the message of one of the last receipts.
    Done {
        receipt: usize,
        sends: Vec<Sending>,
        changes: Vec<RowChange>,
    },
    /// As `Done`, with another session's number in the receipt.
    Forged {
        receipt: usize,
        node: u64,
    },
    Receive {
        queue: usize,
        node: u64,
        max: u32,
        visibility_ms: u64,
        /// Repeats the previous attempt, as if its answer had been lost.
        again: bool,
        turn_max: u32,
    },
    Extend {
        receipt: usize,
        visibility_ms: u64,
    },
    GiveBack {
        receipt: usize,
        failed: bool,
        delay_ms: u64,
        changes: Vec<RowChange>,
    },
    Open {
        node: u64,
        again: bool,
    },
    /// Opens a session under a number that belongs to another node.
    Steal {
        node: u64,
    },
    End {
        node: u64,
    },
    Purge {
        queue: usize,
        half: bool,
        max: u32,
    },
    Requeue {
        from: usize,
        to: usize,
        half: bool,
        max: u32,
        only: Option<usize>,
    },
    /// Ticks of this size until nothing more is due.
    Tick {
        max: u32,
    },
    Pass {
        ms: u64,
    },
    /// The next command carries a time before the clock's.
    Back {
        ms: u64,
    },
}

fn int(value: i64) -> Value {
    Value {
        kind: Some(value::Kind::Int(value)),
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(value::Kind::Text(value.into())),
    }
}

fn set() -> impl Strategy<Value = TextSet> {
    prop::collection::btree_set("[ab]", 0..3).prop_map(|items| TextSet {
        items: items.into_iter().collect(),
    })
}

fn some_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-1_i64..4).prop_map(int),
        2 => "[ab]".prop_map(|value| text(&value)),
        1 => set().prop_map(|items| Value { kind: Some(value::Kind::Set(items)) }),
        1 => any::<bool>().prop_map(|flag| Value { kind: Some(value::Kind::Flag(flag)) }),
        1 => prop::collection::vec(0_u8..2, 0..3).prop_map(|blob| Value { kind: Some(value::Kind::Blob(blob.into())) }),
    ]
}

fn some_update() -> impl Strategy<Value = Update> {
    let of = |attribute: &str, change| Update {
        attribute: attribute.to_owned(),
        change: Some(change),
    };
    prop_oneof![
        4 => (0_i64..5).prop_map(move |n| of("n", update::Change::Add(n))),
        2 => some_value().prop_map(move |value| of("n", update::Change::Set(value))),
        1 => (0_i64..5).prop_map(move |n| of("n", update::Change::Max(int(n)))),
        3 => "[abc]".prop_map(move |name| of("name", update::Change::Set(text(&name)))),
        1 => Just(of("name", update::Change::Remove(true))),
        3 => "[rs]".prop_map(move |rule| of("rule", update::Change::Set(text(&rule)))),
        1 => some_value().prop_map(move |value| of("rule", update::Change::Set(value))),
        3 => (0_i64..3).prop_map(move |count| of("count", update::Change::Set(int(count)))),
        2 => set().prop_map(move |items| of("tags", update::Change::Union(items))),
        1 => set().prop_map(move |items| of("tags", update::Change::Difference(items))),
        1 => (0_i64..9).prop_map(move |item| of("list", update::Change::Append(Append { item: Some(int(item)), bound: 3 }))),
        3 => (990_i64..1_060).prop_map(move |at| of("expiresAt", update::Change::Set(int(at)))),
        1 => Just(of("expiresAt", update::Change::Remove(true))),
        1 => Just(of("name", update::Change::Add(1))),
    ]
}

fn some_condition() -> impl Strategy<Value = Condition> {
    let attribute = || prop::sample::select(vec!["n", "name", "count", "tags"]);
    prop_oneof![
        2 => any::<bool>().prop_map(|absent| (String::new(), condition::Test::Absent(absent))),
        1 => (attribute(), any::<bool>()).prop_map(|(name, absent)| (name.to_owned(), condition::Test::Absent(absent))),
        1 => (attribute(), some_value()).prop_map(|(name, value)| (name.to_owned(), condition::Test::Equals(value))),
        1 => (0_i64..6).prop_map(|bound| ("n".to_owned(), condition::Test::Less(int(bound)))),
    ]
    .prop_map(|(attribute, test)| Condition { attribute, test: Some(test) })
}

fn some_change() -> impl Strategy<Value = RowChange> {
    (
        prop::sample::select(TABLES.to_vec()),
        "[xyz]",
        prop::sample::select(vec!["", "1"]),
        prop::sample::select(vec!["", "", "", "t"]),
        prop::collection::vec(some_condition(), 0..2),
        prop::collection::vec(some_update(), 0..4),
        0_u8..8,
    )
        .prop_map(
            |(table, hash, range, tenant, mut conditions, updates, kind)| {
                if kind < 5 {
                    conditions.clear(); // most changes succeed
                }
                RowChange {
                    table: table.into(),
                    key: Some(Key {
                        tenant: tenant.into(),
                        hash,
                        range: range.into(),
                    }),
                    conditions,
                    delete: kind == 0,
                    replace: kind == 1,
                    updates: if kind == 0 { Vec::new() } else { updates },
                }
            },
        )
}

fn changes(most: usize) -> impl Strategy<Value = Vec<RowChange>> {
    prop::collection::vec(some_change(), 0..=most)
}

fn sending() -> impl Strategy<Value = Sending> {
    (
        prop::sample::select(vec![0, 0, 0, 1, 1, 2, 2, 3, 6]),
        prop::sample::select(vec![0, 0, 0, 0, 500, 3_000]),
        prop::sample::select(vec![0, 0, 1, 2]),
        prop::sample::select(vec![0, 0, 0, 1, 2]),
        0_u8..3,
        prop::sample::select(vec![0, 0, 1, 1, 2]),
        0_u8..3,
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(to, delay_ms, dedup, coalesce, turn, group, kind, odd_body)| Sending {
                to,
                delay_ms,
                dedup,
                coalesce,
                turn,
                group,
                kind,
                odd_body,
            },
        )
}

fn sendings(most: usize) -> impl Strategy<Value = Vec<Sending>> {
    prop::collection::vec(sending(), 0..=most)
}

fn queue() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![0, 0, 0, 1, 1, 2, 3, 4, 4, 4, 5])
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let receipt = || prop::sample::select(vec![0_usize, 0, 0, 1, 1, 2, 3, 5, 8]);
    let node = || 1_u64..=2;
    prop_oneof![
        8 => prop::collection::vec(sending(), 1..4).prop_map(Step::Send),
        6 => prop::collection::vec(some_change(), 1..4).prop_map(Step::Change),
        2 => (0_u8..3, prop::sample::select(vec![0, 0, 100, 599_999, 600_000]), sendings(1), changes(1))
            .prop_map(|(id, age_ms, sends, changes)| Step::Request { id, age_ms, sends, changes }),
        8 => (receipt(), sendings(1), changes(1)).prop_map(|(receipt, sends, changes)| Step::Done { receipt, sends, changes }),
        1 => (receipt(), node()).prop_map(|(receipt, node)| Step::Forged { receipt, node }),
        14 => (queue(), node(), 1_u32..4, prop::sample::select(vec![0, 0, 0, 700]), prop::bool::weighted(0.2), prop::sample::select(vec![0, 0, 1, 2]))
            .prop_map(|(queue, node, max, visibility_ms, again, turn_max)| Step::Receive { queue, node, max, visibility_ms, again, turn_max }),
        2 => (receipt(), prop::sample::select(vec![0, 1_000, 9_000])).prop_map(|(receipt, visibility_ms)| Step::Extend { receipt, visibility_ms }),
        5 => (receipt(), any::<bool>(), prop::sample::select(vec![0, 0, 2_000]), changes(1))
            .prop_map(|(receipt, failed, delay_ms, changes)| Step::GiveBack { receipt, failed, delay_ms, changes }),
        4 => (node(), prop::bool::weighted(0.1)).prop_map(|(node, again)| Step::Open { node, again }),
        1 => node().prop_map(|node| Step::Steal { node }),
        1 => node().prop_map(|node| Step::End { node }),
        1 => (queue(), any::<bool>(), 1_u32..4).prop_map(|(queue, half, max)| Step::Purge { queue, half, max }),
        3 => (prop::sample::select(vec![5_usize, 5, 5, 4, 0, 1]), prop::sample::select(vec![0_usize, 1, 4]), any::<bool>(), 1_u32..6, prop::option::weighted(0.4, 0_usize..4))
            .prop_map(|(from, to, half, max, only)| Step::Requeue { from, to, half, max, only }),
        3 => prop::sample::select(vec![1, 2, 500]).prop_map(|max| Step::Tick { max }),
        8 => prop::sample::select(vec![1, 400, 1_000, 4_000, 11_000]).prop_map(|ms| Step::Pass { ms }),
        1 => prop::sample::select(vec![1, 5_000]).prop_map(|ms| Step::Back { ms }),
    ]
}
