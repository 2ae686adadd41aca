//! detections history, diff, download: the versions that were live.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::upload::changes;
use crate::{
    answer::Fields,
    client::Call,
    commands::{Context, given},
    failure::{Exit, Failure},
    output::{Cell, Grid, Look, Tone, clean, counted, one_line},
};

const API: &str = "panther-analysis-api";
/// Lines that a difference shows around those that changed.
const AROUND: usize = 2;
/// Lines of a file beyond which its lines are not compared one by one.
const LINES: usize = 4_000;

/// `detections history`.
#[derive(Debug, Args)]
pub(crate) struct History {}

/// `detections diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The earlier version: its number in `detections history`, or the beginning of its hash
    from: String,
    /// The later version; the live one if it is not given
    to: Option<String>,
    /// Show items by name only, without the lines of their files
    #[arg(long)]
    names: bool,
}

/// `detections download`.
#[derive(Debug, Args)]
pub(crate) struct Download {
    /// The version, then the folder; or the folder alone, for the version that is live
    #[arg(num_args = 1..=2, required = true, value_names = ["[VERSION] DIR", "DIR"])]
    what: Vec<String>,
}

impl History {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = context.read(API, "listVersions", json!({})).await?;
        if answer.items("versions").is_empty() && !context.screen.json() {
            context
                .screen
                .note("no pack was ever uploaded; pantherctl detections upload DIR");
            return Ok(Exit::Fine);
        }
        context
            .screen
            .show(&answer, |look| history(&answer, look))?;
        Ok(Exit::Fine)
    }
}

fn history(answer: &Value, look: &Look) -> String {
    let mut grid = Grid::new(&[
        "VERSION",
        "TIME",
        "USER",
        "HOW",
        "DETECTIONS",
        "NEW",
        "CHANGED",
        "DELETED",
        "",
    ]);
    for version in answer.items("versions") {
        let live = version.number("number") == answer.number("live");
        grid.row([
            version.text("number").into(),
            version.text("time").into(),
            version.text("user").into(),
            version.text("action").into(),
            version.text("detections").into(),
            version.text("new").into(),
            version.text("changed").into(),
            version.text("deleted").into(),
            if live {
                Cell::toned(Tone::Good, "live")
            } else {
                "".to_owned().into()
            },
        ]);
    }
    grid.render(look)
}

impl Diff {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = given(json!({"from": self.from, "to": self.to}));
        let call = Call::read(API, "getDifference", input);
        let answer = context.client.invoke(call).await?;
        context.screen.show(&answer, |look| {
            let mut text = look.heading(&format!(
                "from version {} to {}",
                answer["from"].text("number"),
                answer["to"].text("number")
            ));
            text.push_str(&changes(&answer["changes"]));
            if !self.names {
                for file in answer.items("files") {
                    let lines = difference(&file.text("from"), &file.text("to"));
                    text.push_str(&format!("\n{}\n{lines}", one_line(&file.text("path"))));
                }
            }
            if answer.items("files").is_empty() {
                text.push_str("the versions hold the same files\n");
            }
            clean(&text)
        })?;
        Ok(Exit::Fine)
    }
}

/// The lines that differ, with some around them: `-` of the earlier text, `+` of the later one.
fn difference(from: &str, to: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    let begin = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[begin..], &new[begin..]);
    let end = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old_part, new_part) = (
        &old_rest[..old_rest.len() - end],
        &new_rest[..new_rest.len() - end],
    );
    let mut lines: Vec<(char, &str)> = old[..begin].iter().map(|line| (' ', *line)).collect();
    lines.extend(edits(old_part, new_part));
    lines.extend(
        old_rest[old_rest.len() - end..]
            .iter()
            .map(|line| (' ', *line)),
    );
    let mut text = String::new();
    let mut skipped = false;
    for (place, (mark, line)) in lines.iter().enumerate() {
        let near = place.saturating_sub(AROUND)..(place + AROUND + 1).min(lines.len());
        if *mark == ' ' && lines[near].iter().all(|(mark, _)| *mark == ' ') {
            skipped = true;
            continue;
        }
        if skipped && !text.is_empty() {
            text.push_str("  …\n");
        }
        skipped = false;
        text.push_str(&format!("{mark} {line}\n"));
    }
    text
}

/// The shortest way from some lines to others: a longest common subsequence stays.
fn edits<'l>(old: &[&'l str], new: &[&'l str]) -> Vec<(char, &'l str)> {
    let all = |mark: char, lines: &[&'l str]| -> Vec<(char, &'l str)> {
        lines.iter().map(|line| (mark, *line)).collect()
    };
    if old.len().saturating_mul(new.len()) > LINES * LINES {
        return [all('-', old), all('+', new)].concat();
    }
    // common[i][j]: how many lines old[i..] and new[j..] have in common, in order.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if common[(i + 1) * width + j] >= common[i * width + j + 1] {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    lines.extend(all('-', &old[i..]));
    lines.extend(all('+', &new[j..]));
    lines
}

impl Download {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (version, folder) = match self.what.as_slice() {
            [version, folder] => (Some(version.clone()), PathBuf::from(folder)),
            [folder] => (None, PathBuf::from(folder)),
            _ => return Err(Failure::input("name a folder to write to")),
        };
        let call = Call::read(API, "getVersion", given(json!({"version": version})));
        let answer = context.client.invoke(call).await?;
        let files: Vec<(String, String)> = answer["files"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(path, text)| (path.clone(), crate::answer::plain(text)))
            .collect();
        let count = files.len();
        let into = folder.clone();
        tokio::task::spawn_blocking(move || write(&into, &files))
            .await
            .map_err(|error| Failure::new("writing broke off").why(error.to_string()))??;
        let told = json!({"version": answer["version"], "folder": folder, "files": count});
        let told = crate::answer::Answer::of(told);
        context.screen.show(&told, |_| {
            format!(
                "version {}: {} in {}\n",
                answer["version"].text("number"),
                counted(count as i64, "file"),
                clean(&folder.display().to_string())
            )
        })?;
        Ok(Exit::Fine)
    }
}

/// Writes files below a folder that is new or empty. Blocking.
fn write(folder: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let what = format!("cannot write {}", path.display());
        move |error: std::io::Error| Failure::new(what.clone()).why(error.to_string())
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut found = std::fs::read_dir(folder).map_err(failed(folder))?;
    if found.next().is_some() {
        return Err(Failure::input(format!("{} is not empty", folder.display()))
            .why("files there would be mixed with those of the version")
            .next("name a new folder"));
    }
    for (name, text) in files {
        let relative = Path::new(name);
        let inside = relative
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(Failure::new(format!(
                "the version has a file {name:?} outside its folder"
            )));
        }
        let path = folder.join(relative);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        std::fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_shown_with_some_around_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\n";
        let new = "a\nb\nc\nD\ne\nf\ng\nh\n";
        assert_eq!(
            difference(old, new),
            "  b\n  c\n- d\n+ D\n  e\n  f\n  g\n+ h\n"
        );
        assert_eq!(difference("", "x\n"), "+ x\n");
        assert_eq!(difference("x\n", ""), "- x\n");
    }

    #[test]
    fn a_download_writes_below_an_empty_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| vec![(name.to_owned(), "x".to_owned())];
        let into = folder.path().join("new");
        write(&into, &file("rules/a.yml")).unwrap();
        assert_eq!(
            std::fs::read_to_string(into.join("rules/a.yml")).unwrap(),
            "x"
        );
        assert!(write(&into, &file("b.yml")).is_err(), "it is not empty");
        let other = folder.path().join("other");
        for name in ["../b.yml", "/tmp/b.yml"] {
            assert!(write(&other, &file(name)).is_err(), "{name}");
        }
        assert!(!folder.path().join("b.yml").exists());
    }
}
