//! Updates of one attribute: set, remove, add, max, union, difference, bounded append.

use std::cmp::Ordering;

use panther_proto::v1::{Append, Row, TextSet, Update, Value, update, value};
use serde_json::value::RawValue;

use super::conditions::compare;

/// Bound of an appended list, in items, if the command names no bound.
const DEFAULT_BOUND: usize = 1_000;

/// Updates one attribute. The error is the reason why it cannot be updated.
pub(super) fn carry_out(row: &mut Row, update: &Update) -> Result<(), String> {
    let name = &update.attribute;
    let held = row
        .attributes
        .get(name)
        .and_then(|value| value.kind.as_ref());
    let kind = match update.change.as_ref().ok_or("the update names no change")? {
        update::Change::Set(value) => normal(value)?,
        update::Change::Remove(_) => {
            row.attributes.remove(name);
            return Ok(());
        }
        update::Change::Add(number) => match held {
            None | Some(value::Kind::Null(_)) => value::Kind::Int(*number),
            Some(value::Kind::Int(held)) => value::Kind::Int(held.saturating_add(*number)),
            Some(_) => return Err("it is no number, so nothing can be added".to_owned()),
        },
        update::Change::Max(value) => {
            let new = normal(value)?;
            match held {
                None | Some(value::Kind::Null(_)) => new,
                Some(held) => match compare(
                    &Value {
                        kind: Some(held.clone()),
                    },
                    &Value {
                        kind: Some(new.clone()),
                    },
                ) {
                    Some(Ordering::Less) => new,
                    Some(_) => return Ok(()),
                    None => {
                        return Err("it is of another kind, so there is no greater one".to_owned());
                    }
                },
            }
        }
        update::Change::Union(more) => value::Kind::Set(sorted(
            items(held)?
                .into_iter()
                .chain(more.items.iter().cloned())
                .collect(),
        )),
        update::Change::Difference(fewer) => {
            let left: Vec<String> = items(held)?
                .into_iter()
                .filter(|item| !fewer.items.contains(item))
                .collect();
            if left.is_empty() {
                row.attributes.remove(name);
                return Ok(());
            }
            value::Kind::Set(sorted(left))
        }
        update::Change::Append(append) => value::Kind::Json(appended(held, append)?),
    };
    row.attributes
        .insert(name.clone(), Value { kind: Some(kind) });
    Ok(())
}

fn normal(value: &Value) -> Result<value::Kind, String> {
    match value.kind.clone().ok_or("the value is of no kind")? {
        value::Kind::Set(set) => Ok(value::Kind::Set(sorted(set.items))),
        kind => Ok(kind),
    }
}

fn sorted(mut items: Vec<String>) -> TextSet {
    items.sort_unstable();
    items.dedup();
    TextSet { items }
}

fn items(held: Option<&value::Kind>) -> Result<Vec<String>, String> {
    match held {
        None | Some(value::Kind::Null(_)) => Ok(Vec::new()),
        Some(value::Kind::Set(set)) => Ok(set.items.clone()),
        Some(_) => Err("it is no set".to_owned()),
    }
}

fn appended(held: Option<&value::Kind>, append: &Append) -> Result<String, String> {
    let text = match append.item.as_ref().and_then(|item| item.kind.as_ref()) {
        Some(value::Kind::Json(json)) => json.clone(),
        Some(value::Kind::Text(text)) => serde_json::Value::String(text.clone()).to_string(),
        Some(value::Kind::Int(int)) => int.to_string(),
        _ => return Err("only json, text and numbers can be appended".to_owned()),
    };
    let item =
        RawValue::from_string(text).map_err(|error| format!("the item is no json: {error}"))?;
    let mut list: Vec<Box<RawValue>> = match held {
        None | Some(value::Kind::Null(_)) => Vec::new(),
        Some(value::Kind::Json(json)) => {
            serde_json::from_str(json).map_err(|error| format!("it is no json list: {error}"))?
        }
        Some(_) => return Err("it is no list".to_owned()),
    };
    list.push(item);
    let bound = if append.bound == 0 {
        DEFAULT_BOUND
    } else {
        append.bound as usize
    };
    let surplus = list.len().saturating_sub(bound);
    list.drain(..surplus);
    serde_json::to_string(&list).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(changes: Vec<update::Change>) -> Result<Option<value::Kind>, String> {
        let mut row = Row::default();
        for change in changes {
            carry_out(
                &mut row,
                &Update {
                    attribute: "a".into(),
                    change: Some(change),
                },
            )?;
        }
        Ok(row.attributes.remove("a").and_then(|value| value.kind))
    }

    fn set(items: &[&str]) -> TextSet {
        TextSet {
            items: items.iter().map(|item| (*item).to_owned()).collect(),
        }
    }

    #[test]
    fn add_and_max_start_from_nothing() {
        let max = |int| {
            update::Change::Max(Value {
                kind: Some(value::Kind::Int(int)),
            })
        };
        assert_eq!(
            after(vec![update::Change::Add(3), update::Change::Add(-1)]),
            Ok(Some(value::Kind::Int(2)))
        );
        assert_eq!(
            after(vec![max(3), max(1), max(7)]),
            Ok(Some(value::Kind::Int(7)))
        );
    }

    #[test]
    fn sets_are_sorted_and_unique_and_an_empty_one_is_no_attribute() {
        assert_eq!(
            after(vec![
                update::Change::Union(set(&["b", "a"])),
                update::Change::Union(set(&["a", "c"]))
            ]),
            Ok(Some(value::Kind::Set(set(&["a", "b", "c"]))))
        );
        assert_eq!(
            after(vec![
                update::Change::Union(set(&["a"])),
                update::Change::Difference(set(&["a"]))
            ]),
            Ok(None)
        );
    }

    #[test]
    fn an_appended_list_keeps_its_newest_items() {
        let append = |text: &str| {
            update::Change::Append(Append {
                item: Some(Value {
                    kind: Some(value::Kind::Json(text.into())),
                }),
                bound: 2,
            })
        };
        assert_eq!(
            after(vec![append("1"), append("{\"x\":1.50}"), append("\"z\"")]),
            Ok(Some(value::Kind::Json("[{\"x\":1.50},\"z\"]".into())))
        );
        assert!(after(vec![append("{")]).is_err());
    }

    #[test]
    fn a_change_that_does_not_fit_the_kind_is_refused() {
        let text = update::Change::Set(Value {
            kind: Some(value::Kind::Text("x".into())),
        });
        assert!(after(vec![text.clone(), update::Change::Add(1)]).is_err());
        assert!(after(vec![text, update::Change::Union(set(&["a"]))]).is_err());
    }
}
