//! All guards of a pack, arranged so that an event is tested against few of them.
//!
//! Most guards hold an equality on one field. For each log type those equalities are turned around into a table from value to rules: one look-up finds
//! the rules whose equality holds, and only their remaining conditions are tested one by one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use super::Guard;
use super::condition::Condition;
use super::scan::{Found, Paths};
use crate::event::Map;

/// Guards by log type.
#[derive(Debug, Default)]
pub struct Index {
    selectors: HashMap<String, Selector>,
}

impl Index {
    /// Arranges the guards of `rules`: each with its index, its log types and its guard.
    pub fn new<'a>(rules: impl IntoIterator<Item = (u32, &'a [String], &'a Guard)>) -> Self {
        let mut by_type: BTreeMap<&str, BTreeMap<u32, &Guard>> = BTreeMap::new();
        for (rule, log_types, guard) in rules {
            for log_type in log_types {
                by_type.entry(log_type).or_default().insert(rule, guard);
            }
        }
        Self {
            selectors: by_type
                .into_iter()
                .map(|(log_type, rules)| (log_type.to_owned(), Selector::new(&rules)))
                .collect(),
        }
    }

    /// Rules of a log type, whatever their guards.
    #[must_use]
    pub fn rules(&self, log_type: &str) -> usize {
        self.selectors
            .get(log_type)
            .map_or(0, |selector| selector.rules.len())
    }

    /// The rules of the event's log type that may match it, fail on it or change state for it, ascending.
    #[must_use]
    pub fn candidates(&self, log_type: &str, json: &[u8]) -> Vec<u32> {
        let arena = bumpalo::Bump::new();
        self.candidates_of(log_type, crate::event::read(&arena, json).ok())
    }

    /// All rules of a log type, ascending.
    pub(crate) fn all(&self, log_type: &str) -> impl Iterator<Item = u32> + '_ {
        let selector = self.selectors.get(log_type);
        selector
            .into_iter()
            .flat_map(|selector| selector.rules.iter().map(|(rule, _)| *rule))
    }

    /// Those of some rules that may match the event, fail on it or change state for it.
    pub(crate) fn candidates_among(
        &self,
        log_type: &str,
        event: &Map<'_>,
        rules: &[u32],
    ) -> Vec<u32> {
        match self.selectors.get(log_type) {
            Some(selector) if !rules.is_empty() => selector.among(event, rules),
            _ => Vec::new(),
        }
    }

    /// The same for an event that has been read; all rules of its type if it could not be.
    pub(crate) fn candidates_of(&self, log_type: &str, event: Option<&Map<'_>>) -> Vec<u32> {
        match self.selectors.get(log_type) {
            Some(selector) => selector.candidates(event),
            None => Vec::new(),
        }
    }
}

/// The guards of one log type.
#[derive(Debug)]
struct Selector {
    paths: Paths,
    /// Rule and condition, ascending by rule.
    rules: Vec<(u32, Condition)>,
    /// Places in `rules` that no equality finds.
    unanchored: Vec<usize>,
    tables: Vec<Table>,
}

/// Rules by the text that one field must have.
#[derive(Debug)]
struct Table {
    slot: usize,
    by_text: HashMap<String, Vec<usize>>,
    /// Every place in `by_text`, for an event in which the field cannot be told.
    all: Vec<usize>,
}

impl Selector {
    fn new(guards: &BTreeMap<u32, &Guard>) -> Self {
        let mut paths = Paths::default();
        let rules: Vec<(u32, Condition)> = guards
            .iter()
            .map(|(rule, guard)| (*rule, Condition::new(guard, &mut paths)))
            .collect();
        let mut values = HashMap::new();
        for (_, condition) in &rules {
            condition.values(&mut values);
        }
        let distinct: HashMap<usize, usize> = values
            .into_iter()
            .map(|(slot, values)| (slot, values.len()))
            .collect();
        let mut unanchored = Vec::new();
        let mut tables: BTreeMap<usize, Table> = BTreeMap::new();
        for (place, (_, condition)) in rules.iter().enumerate() {
            let Some(anchor) = condition.anchor(&distinct) else {
                unanchored.push(place);
                continue;
            };
            for (slot, text) in anchor {
                let table = tables.entry(slot).or_insert_with(|| Table {
                    slot,
                    by_text: HashMap::new(),
                    all: Vec::new(),
                });
                table.by_text.entry(text).or_default().push(place);
                table.all.push(place);
            }
        }
        Self {
            paths,
            rules,
            unanchored,
            tables: tables.into_values().collect(),
        }
    }

    fn among(&self, event: &Map<'_>, rules: &[u32]) -> Vec<u32> {
        // They are few, and so are their fields; most ask for the same ones.
        let known = RefCell::new(Vec::with_capacity(16));
        let found = |slot| {
            let mut known = known.borrow_mut();
            if let Some((_, found)) = known.iter().find(|(of, _)| *of == slot) {
                return *found;
            }
            let found = self.paths.look_at(slot, event);
            known.push((slot, found));
            found
        };
        let may_hold = |rule: &u32| {
            let place = self.rules.binary_search_by_key(rule, |(rule, _)| *rule);
            place.is_ok_and(|place| self.rules[place].1.may_hold(&found))
        };
        rules.iter().copied().filter(may_hold).collect()
    }

    fn candidates(&self, event: Option<&Map<'_>>) -> Vec<u32> {
        let Some(found) = event.and_then(|event| self.paths.look(event)) else {
            return self.rules.iter().map(|(rule, _)| *rule).collect();
        };
        let mut places: Vec<usize> = self.unanchored.clone();
        for table in &self.tables {
            match &found[table.slot] {
                Found::Text(text) => places.extend(table.by_text.get(*text).into_iter().flatten()),
                Found::Odd => places.extend(&table.all),
                _ => {}
            }
        }
        places.sort_unstable();
        places.dedup();
        places
            .into_iter()
            .filter(|place| self.rules[*place].1.may_hold(&|slot| found[slot]))
            .map(|place| self.rules[place].0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn candidates(guards: &[Value], event: &str) -> Vec<u32> {
        let guards: Vec<Guard> = guards.iter().map(Guard::from_json).collect();
        let log_types = ["T".to_owned()];
        let index = Index::new(
            guards
                .iter()
                .enumerate()
                .map(|(rule, guard)| (u32::try_from(rule).unwrap(), &log_types[..], guard)),
        );
        index.candidates("T", event.as_bytes())
    }

    fn holds(guard: Value, event: &str) -> bool {
        candidates(&[guard], event) == [0]
    }

    #[test]
    fn an_event_finds_the_rules_whose_conditions_hold() {
        let guards = [
            json!({"eq": [["eventName"], "A"]}),
            json!({"in": [["eventName"], ["A", "B"]]}),
            json!({"all": [{"eq": [["source"], "s"]}, {"in": [["eventName"], ["B", "C"]]}]}),
            json!({"any": [{"eq": [["eventName"], "Z"]}, {"eq": [["user", "type"], "Root"]}]}),
            json!(true),
            json!(false),
            json!({"all": [{"eq": [["eventName"], "A"]}, {"truthy": [["errorCode"]]}]}),
            json!({"prefix": [["eventName"], ["A", "Del"]]}),
        ];
        let event = r#"{"eventName":"A","source":"s","other":[1,{"eventName":"B"}]}"#;
        assert_eq!(candidates(&guards, event), [0, 1, 4, 7]);
        assert_eq!(
            candidates(&guards, r#"{"eventName":"B","source":"s"}"#),
            [1, 2, 4]
        );
        assert_eq!(candidates(&guards, r#"{"user":{"type":"Root"}}"#), [3, 4]);
        assert_eq!(
            candidates(&guards, r#"{"eventName":"A","errorCode":"x"}"#),
            [0, 1, 4, 6, 7]
        );
    }

    #[test]
    fn keys_are_found_whatever_their_case() {
        let guard = || json!({"eq": [["eventName"], "A"]});
        assert!(holds(guard(), r#"{"EVENTNAME":"A"}"#));
        assert!(!holds(guard(), r#"{"EVENTNAME":"B"}"#));
        // Two keys for one spelling: which one Python takes is left to Python.
        assert!(holds(guard(), r#"{"eventname":"B","EVENTNAME":"C"}"#));
        // Of equal keys the last value counts.
        assert!(!holds(guard(), r#"{"eventName":"A","eventName":"C"}"#));
        assert!(holds(guard(), r#"{"eventName":"B","eventName":"A"}"#));
    }

    #[test]
    fn doubt_is_answered_by_yes() {
        let nested = || json!({"eq": [["a", "b"], "x"]});
        for odd in [
            r#"{"a":"text"}"#,
            r#"{"a":[{"b":"y"}]}"#,
            r#"{"a":1}"#,
            "not json",
            r#"{"a":{"b":"y"}} trailing"#,
            "[1]",
            r#"["b"]"#,
        ] {
            assert!(holds(nested(), odd), "{odd}");
        }
        for clear in [
            r#"{"a":{"b":"y"}}"#,
            r#"{"a":{}}"#,
            r#"{"a":null}"#,
            "{}",
            r#"{"a":{"b":null}}"#,
            r#"{"a":{"b":["x"]}}"#,
        ] {
            assert!(!holds(nested(), clear), "{clear}");
        }
        assert!(holds(json!({"unheard of": [["a"], 1]}), "{}"));
        assert!(holds(json!({"eq": "wrong shape"}), "{}"));
        assert!(holds(json!({"not": {"all": []}}), "{}"));
        for odd in [r#"{"a":"text"}"#, r#"{"a":[]}"#, "[]"] {
            assert!(
                holds(json!({"not": {"eq": [["a", "b"], "x"]}}), odd),
                "{odd}"
            );
            assert!(holds(json!({"type": [["a", "b"], ["null"]]}), odd), "{odd}");
            assert!(
                holds(json!({"not": {"type": [["a", "b"], ["missing"]]}}), odd),
                "{odd}"
            );
        }
    }

    #[test]
    fn values_compare_as_in_python() {
        let eq = |value: Value, event: &str| holds(json!({"eq": [["a"], value]}), event);
        assert!(eq(json!(1), r#"{"a":true}"#));
        assert!(eq(json!(true), r#"{"a":1.0}"#));
        assert!(eq(json!(0), r#"{"a":false}"#));
        assert!(eq(json!(1.5), r#"{"a":1.5}"#));
        assert!(eq(json!(3), r#"{"a":3.0}"#));
        assert!(!eq(json!(1), r#"{"a":"1"}"#));
        assert!(!eq(json!("1"), r#"{"a":1}"#));
        assert!(eq(json!(null), "{}"));
        assert!(eq(json!(null), r#"{"a":null}"#));
        assert!(!eq(json!(null), r#"{"a":0}"#));
        assert!(
            eq(json!(1), r#"{"a":123456789012345678901234567890}"#),
            "too large to tell"
        );
        assert!(eq(json!("é\u{1}"), "{\"a\":\"\\u00e9\\u0001\"}"));
        assert!(holds(
            json!({"ieq": [["a"], ["x", "abc"]]}),
            r#"{"a":"aBc"}"#
        ));
        assert!(!holds(json!({"ieq": [["a"], ["abc"]]}), r#"{"a":"abcd"}"#));
        assert!(
            holds(json!({"ieq": [["a"], ["x"]]}), r#"{"a":"É"}"#),
            "left to Python"
        );
        assert!(!holds(json!({"prefix": [["a"], ["x"]]}), r#"{"a":null}"#));
        assert!(!holds(
            json!({"contains": [["a"], ["x"]]}),
            r#"{"a":["x"]}"#
        ));
        assert!(!holds(json!({"not": {"truthy": ["a"]}}), r#"{"a":1}"#));
        assert!(holds(json!({"not": {"in": [["a"], [1, 2]]}}), r#"{"a":3}"#));
        for (value, name) in [
            ("null", "null"),
            ("0", "number"),
            ("{}", "object"),
            ("[]", "array"),
            ("false", "bool"),
        ] {
            let event = format!("{{\"a\":{value}}}");
            assert!(holds(json!({"type": [["a"], [name]]}), &event));
            assert!(!holds(
                json!({"type": [["a"], ["missing", "string"]]}),
                &event
            ));
        }
        assert!(holds(
            json!({"suffix": [["a"], [".com"]]}),
            r#"{"a":"x.com"}"#
        ));
        assert!(!holds(
            json!({"contains": [["a"], ["z", "q"]]}),
            r#"{"a":"xyx"}"#
        ));
        for (value, truthy) in [
            ("\"\"", false),
            ("[]", false),
            ("{}", false),
            ("0", false),
            ("0.0", false),
            ("\"0\"", true),
            ("[0]", true),
            ("{\"x\":0}", true),
            ("-1", true),
        ] {
            assert_eq!(
                holds(json!({"truthy": [["a"]]}), &format!("{{\"a\":{value}}}")),
                truthy,
                "{value}"
            );
        }
    }

    fn guards() -> impl Strategy<Value = Value> {
        let path = prop_oneof![
            Just(json!(["a"])),
            Just(json!(["b"])),
            Just(json!(["a", "b"]))
        ];
        let value = prop_oneof![
            Just(json!("x")),
            Just(json!("y")),
            Just(json!(1)),
            Just(json!(null))
        ];
        let leaf = (path, proptest::collection::vec(value, 1..3))
            .prop_map(|(path, values)| json!({"in": [path, values]}));
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3)
                    .prop_map(|guards| json!({"all": guards})),
                proptest::collection::vec(inner, 0..3).prop_map(|guards| json!({"any": guards})),
            ]
        })
    }

    /// The same by the plainest means: look up, compare, recurse.
    fn plainly(guard: &Value, event: &Value) -> bool {
        let (operator, operand) = guard.as_object().unwrap().iter().next().unwrap();
        let operand = operand.as_array().unwrap();
        match operator.as_str() {
            "all" => operand.iter().all(|guard| plainly(guard, event)),
            "any" => operand.iter().any(|guard| plainly(guard, event)),
            _ => {
                let mut value = event;
                for key in operand[0].as_array().unwrap() {
                    match value {
                        Value::Object(map) => {
                            value = map.get(key.as_str().unwrap()).unwrap_or(&Value::Null)
                        }
                        Value::Null => {}
                        _ => return true,
                    }
                }
                operand[1].as_array().unwrap().contains(value)
            }
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_what_plain_evaluation_finds(
            guards in proptest::collection::vec(guards(), 1..6),
            a in prop_oneof![Just(json!("x")), Just(json!(null)), Just(json!({"b": "x"})), Just(json!({"b": 1})), Just(json!(["x"]))],
            b in prop_oneof![Just(json!("y")), Just(json!("x")), Just(json!(2))],
        ) {
            let event = json!({"a": a, "b": b, "c": {"a": "x"}});
            let expected: Vec<u32> = guards.iter().enumerate().filter(|(_, guard)| plainly(guard, &event)).map(|(rule, _)| u32::try_from(rule).unwrap()).collect();
            prop_assert_eq!(candidates(&guards, &event.to_string()), expected);
        }
    }
}
