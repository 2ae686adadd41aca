//! A file on the node that delivers: one line of JSON for each alert.

use futures::future::BoxFuture;
use serde::Deserialize;

use super::answer::Answer;
use super::destination::{Destination, DestinationType, Means};
use super::files::FileError;
use super::notice::Notice;
use super::spec::{DestinationField, DestinationSpec, FieldForm};

pub(super) const TYPE: DestinationType = DestinationType::of::<File>(DestinationSpec {
    name: "file",
    key: "file",
    about: "A file on the node, one JSON object a line",
    fields: &[DestinationField::text(
        "path",
        "The file, on the node that delivers; pantherd must be able to write it",
    )
    .form(FieldForm::Path)
    .required()
    .address()],
    example: r#"{"path": "/var/log/panther/alerts.jsonl"}"#,
});

#[derive(Deserialize)]
struct File {
    path: String,
}

impl Destination for File {
    fn check(&self, means: &Means) -> Result<(), String> {
        means.files.check(&self.path)
    }

    fn address(&self) -> String {
        self.path.clone()
    }

    fn deliver<'a>(&'a self, notice: &'a Notice<'a>, means: &'a Means) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let line = format!("{}\n", notice.notification());
            match means.files.append(&self.path, line, means.deadline).await {
                Ok(()) => Answer::new(200, format!("appended to {}", self.path)),
                Err(error @ (FileError::Slow { .. } | FileError::Blocked(_))) => {
                    Answer::new(504, error.to_string())
                }
                Err(error) => Answer::new(0, error.to_string()),
            }
        })
    }
}
