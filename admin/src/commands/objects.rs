//! objects: what is stored, one object at a time.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use crate::{
    answer::Fields,
    failure::{Exit, Failure},
};

/// `objects`.
#[derive(Debug, Subcommand)]
pub(crate) enum Objects {
    /// Write an object, as it is stored, to a file or to standard output
    Get(Get),
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The object's name, as dead letters, `quarantine ls` and `trace` show it
    name: String,
    /// The file to write; it must not exist
    #[arg(long, short)]
    out: Option<PathBuf>,
}

impl Objects {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Get(get) => get.run(context).await,
        }
    }
}

impl Get {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.out.is_none() && std::io::stdout().is_terminal() && self.name.ends_with(".gz") {
            context.screen.note(&format!(
                "the object is compressed; `pantherctl objects get {} | zcat` shows its text",
                self.name
            ));
            return Ok(Exit::Fine);
        }
        let mut to: Option<Box<dyn Write + Send>> = None;
        let mut from = 0_usize;
        loop {
            let answer = context
                .read(
                    "node",
                    "object_get",
                    json!({"name": self.name, "from": from}),
                )
                .await?;
            let content = unhex(&answer.text("content"))?;
            // Nothing is created for an object that does not exist.
            let to = match &mut to {
                Some(to) => to,
                unopened => unopened.insert(self.open()?),
            };
            to.write_all(&content)
                .map_err(|error| self.failed(&error))?;
            from += content.len();
            if answer["last"] != false {
                to.flush().map_err(|error| self.failed(&error))?;
                return Ok(Exit::Fine);
            }
        }
    }

    fn open(&self) -> Result<Box<dyn Write + Send>, Failure> {
        let Some(path) = &self.out else {
            return Ok(Box::new(std::io::stdout()));
        };
        let file = std::fs::File::create_new(path).map_err(|error| self.failed(&error))?;
        Ok(Box::new(std::io::BufWriter::new(file)))
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        let to = self.out.as_ref().map_or_else(
            || "standard output".to_owned(),
            |path| path.display().to_string(),
        );
        Failure::new(format!("the object was not written to {to}")).why(error.to_string())
    }
}

/// The bytes of an answer's hexadecimal digits.
fn unhex(text: &str) -> Result<Vec<u8>, Failure> {
    data_encoding::HEXLOWER
        .decode(text.as_bytes())
        .map_err(|_| Failure::new("the node's answer holds no object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_bytes() {
        assert_eq!(unhex("00ff1a").unwrap(), [0, 255, 26]);
        assert!(unhex("zz").is_err());
    }
}
