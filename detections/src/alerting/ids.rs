//! Ids that hash their parts together with the parts' lengths, so that `a:x` + `b` differs from `a` + `x:b`.

use md5::{Digest, Md5};

use super::AlertKind;

/// Key of the deduplication row of a rule's matches (or errors) with one dedup string: 32 hex digits.
#[must_use]
pub fn dedup_key(rule_id: &str, dedup: &str, kind: AlertKind) -> String {
    hash(&[
        b"dedup",
        kind.as_str().as_bytes(),
        rule_id.as_bytes(),
        dedup.as_bytes(),
    ])
}

/// Id of the `alert_count`-th alert of a deduplication row, opened at `alert_creation_time` (Unix seconds): 32 hex digits.
///
/// The time is part of it so that a row which was deleted and starts counting anew does not give an earlier alert's id again.
#[must_use]
pub fn alert_id(
    rule_id: &str,
    alert_count: u64,
    alert_creation_time: i64,
    dedup: &str,
    kind: AlertKind,
) -> String {
    hash(&[
        b"alert",
        kind.as_str().as_bytes(),
        rule_id.as_bytes(),
        &alert_count.to_be_bytes(),
        &alert_creation_time.to_be_bytes(),
        dedup.as_bytes(),
    ])
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    data_encoding::HEXLOWER.encode(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_stable() {
        // Fixed: stored rows carry these ids.
        assert_eq!(
            dedup_key("a", "b", AlertKind::Rule),
            dedup_key("a", "b", AlertKind::Rule)
        );
        assert_eq!(dedup_key("AWS.Rule", "title", AlertKind::Rule).len(), 32);
    }

    proptest! {
        #[test]
        fn parts_do_not_run_into_each_other(left in "[a:]{0,4}", right in "[a:]{0,4}", other_left in "[a:]{0,4}", other_right in "[a:]{0,4}") {
            let same = left == other_left && right == other_right;
            prop_assert_eq!(dedup_key(&left, &right, AlertKind::Rule) == dedup_key(&other_left, &other_right, AlertKind::Rule), same);
            prop_assert_eq!(alert_id(&left, 1, 2, &right, AlertKind::Rule) == alert_id(&other_left, 1, 2, &other_right, AlertKind::Rule), same);
        }

        #[test]
        fn each_part_counts(count in 0u64..3, time in 0i64..3, other_count in 0u64..3, other_time in 0i64..3, error in any::<bool>()) {
            let kind = if error { AlertKind::RuleError } else { AlertKind::Rule };
            let same = count == other_count && time == other_time && !error;
            prop_assert_eq!(alert_id("r", count, time, "d", AlertKind::Rule) == alert_id("r", other_count, other_time, "d", kind), same);
        }
    }
}
