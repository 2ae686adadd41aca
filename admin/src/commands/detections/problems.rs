//! What is wrong with a pack, told file by file, whoever found it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    answer::{Answer, Fields},
    commands::Context,
    failure::Failure,
    output::{counted, one_line},
};

/// Shows problems: to standard error for people; with `--json` as `{"problems": [...]}` on standard output.
pub(super) fn show(context: &Context, problems: Vec<Value>, what: &str) -> Result<(), Failure> {
    show_to_people(context, &problems, what);
    if context.screen.json() {
        context
            .screen
            .show(&Answer::of(json!({"problems": problems})), |_| {
                String::new()
            })?;
    }
    Ok(())
}

/// Shows problems to standard error, where an answer of its own goes to standard output.
pub(super) fn show_to_people(context: &Context, problems: &[Value], what: &str) {
    context.screen.note(&in_words(problems, what));
}

fn in_words(problems: &[Value], what: &str) -> String {
    let mut files: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for problem in problems {
        let file = match problem.text("file") {
            none if none.is_empty() => "the pack as a whole".to_owned(),
            file => file,
        };
        files.entry(file).or_default().push(problem);
    }
    let mut text = format!(
        "{what}: {} in {}\n",
        counted(problems.len() as i64, "problem"),
        counted(files.len() as i64, "file")
    );
    for (file, problems) in files {
        text.push_str(&format!("{}\n", one_line(&file)));
        for problem in problems {
            let key = match problem.text("key") {
                key if key.is_empty() => String::new(),
                key => format!("{}: ", one_line(&key)),
            };
            text.push_str(&format!("  {key}{}\n", one_line(&problem.text("reason"))));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_stand_under_their_file() {
        let problems = [
            json!({"file": "b.yml", "key": "RuleID", "reason": "is missing"}),
            json!({"file": "a.yml", "key": null, "reason": "no YAML"}),
            json!({"file": "b.yml", "key": "Severity", "reason": "\"Huge\" is none"}),
        ];
        assert_eq!(
            in_words(&problems, "refused"),
            "refused: 3 problems in 2 files\na.yml\n  no YAML\nb.yml\n  RuleID: is missing\n  Severity: \"Huge\" is none\n"
        );
    }
}
