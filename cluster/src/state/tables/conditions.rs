//! Conditions: facts that a handler relied on when it planned. If one does not hold any more, the command conflicts.

use std::cmp::Ordering;

use panther_proto::v1::{Condition, Row, Value, condition, value};

/// Why a condition does not hold; `None` if it holds.
pub(super) fn broken(condition: &Condition, row: Option<&Row>) -> Option<String> {
    let held = if condition.attribute.is_empty() {
        None
    } else {
        row.and_then(|row| super::attribute(row, &condition.attribute))
    };
    let present = if condition.attribute.is_empty() {
        row.is_some()
    } else {
        held.is_some()
    };
    match &condition.test {
        None => Some("the condition names no test".to_owned()),
        Some(condition::Test::Absent(absent)) => (present == *absent).then(|| {
            if present {
                "it is present"
            } else {
                "it is absent"
            }
            .to_owned()
        }),
        Some(condition::Test::Equals(value)) => {
            (held != Some(value)).then(|| "it has another value".to_owned())
        }
        Some(condition::Test::Less(value)) => {
            let less = held.and_then(|held| compare(held, value)) == Some(Ordering::Less);
            (!less).then(|| "it is absent or not less".to_owned())
        }
    }
}

/// The order of two values of the same comparable kind; `None` for all others.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left.kind.as_ref()?, right.kind.as_ref()?) {
        (value::Kind::Int(left), value::Kind::Int(right)) => Some(left.cmp(right)),
        (value::Kind::Text(left), value::Kind::Text(right)) => Some(left.cmp(right)),
        (value::Kind::Blob(left), value::Kind::Blob(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn int(value: i64) -> Value {
        Value {
            kind: Some(value::Kind::Int(value)),
        }
    }

    fn row(value: i64) -> Row {
        Row {
            attributes: BTreeMap::from([("n".to_owned(), int(value))]),
        }
    }

    fn holds(attribute: &str, test: condition::Test, row: Option<&Row>) -> bool {
        broken(
            &Condition {
                attribute: attribute.to_owned(),
                test: Some(test),
            },
            row,
        )
        .is_none()
    }

    #[test]
    fn absent_and_present_speak_of_the_row_or_of_an_attribute() {
        let row = row(1);
        assert!(holds("", condition::Test::Absent(true), None));
        assert!(!holds("", condition::Test::Absent(true), Some(&row)));
        assert!(holds("", condition::Test::Absent(false), Some(&row)));
        assert!(holds("m", condition::Test::Absent(true), Some(&row)));
        assert!(!holds("n", condition::Test::Absent(true), Some(&row)));
        assert!(!holds("n", condition::Test::Absent(false), None));
    }

    #[test]
    fn comparisons_fail_on_absent_attributes_and_on_other_kinds() {
        let row = row(5);
        assert!(holds("n", condition::Test::Equals(int(5)), Some(&row)));
        assert!(!holds("n", condition::Test::Equals(int(6)), Some(&row)));
        assert!(holds("n", condition::Test::Less(int(6)), Some(&row)));
        assert!(!holds("n", condition::Test::Less(int(5)), Some(&row)));
        assert!(!holds("m", condition::Test::Less(int(5)), Some(&row)));
        assert!(!holds(
            "n",
            condition::Test::Less(Value {
                kind: Some(value::Kind::Text("6".into()))
            }),
            Some(&row)
        ));
    }
}
