//! Names that were meant where others were written.

/// The candidate that resembles a name most, if one does: equal but for case, or a few letters added, dropped, changed or swapped.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let written: Vec<char> = name.to_lowercase().chars().collect();
    let most = (written.len() / 5).clamp(1, 3);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let meant: Vec<char> = candidate.to_lowercase().chars().collect();
            let far = written.len().abs_diff(meant.len()) > most;
            let steps = if far {
                most + 1
            } else {
                distance(&written, &meant)
            };
            (steps <= most).then_some((steps, candidate))
        })
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour to make one of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let changed = last[j] + usize::from(x != y);
            let mut steps = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                steps = steps.min(before[j - 1] + 1);
            }
            row.push(steps);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_are_recognised() {
        let known = [
            "Threshold",
            "LogTypes",
            "AWS.CloudTrail",
            "AWS.VPCFlow",
            "Okta.SystemLog",
            "IDs",
        ];
        for (written, meant) in [
            ("Treshold", Some("Threshold")),
            ("threshold", Some("Threshold")),
            ("Thresholds", Some("Threshold")),
            ("LogTyeps", Some("LogTypes")),
            ("AWS.CloudTrial", Some("AWS.CloudTrail")),
            ("aws.cloudtrail", Some("AWS.CloudTrail")),
            ("Okta.SytemLogs", Some("Okta.SystemLog")),
            ("Owner", None),
            ("Azure.Audit", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_distance_is_of_both_alike_and_none_to_itself(a in "[ab]{0,6}", b in "[ab]{0,6}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            let (a, b) = (letters(&a), letters(&b));
            proptest::prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            proptest::prop_assert_eq!(distance(&a, &b) == 0, a == b);
            proptest::prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
        }
    }
}
