//! Transformations that a schema declares: where a field takes its value from, and how the value is masked.
//!
//! They run in stages, as in Panther: rename, copy, concat, split, mask. A stage sees the result of the stages before it.

use std::fmt::Write;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{
    ValueType,
    file::{MaskFile, ValueFile},
};

/// Maximum length of a path and of a text that a schema declares for a transformation, in bytes.
const MAX_TEXT: usize = 1024;
/// Maximum number of paths of one `concat`.
const MAX_PATHS: usize = 64;

/// A transformation that gives a field its value. The variants are in the order of their stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The value of another member of the same object. That member disappears.
    Rename { from: String },
    /// The value at a path.
    Copy { from: String },
    /// The texts at several paths, with a separator between them.
    Concat {
        paths: Vec<String>,
        separator: String,
    },
    /// One part of the text at a path, or the array of all parts.
    Split {
        from: String,
        separator: String,
        index: Option<usize>,
    },
}

impl Source {
    /// The stage in which the transformation runs.
    pub(crate) fn stage(&self) -> u8 {
        match self {
            Self::Rename { .. } => 0,
            Self::Copy { .. } => 1,
            Self::Concat { .. } => 2,
            Self::Split { .. } => 3,
        }
    }

    /// True if the transformation reads the field `name` itself, so that its result replaces the value of the field.
    pub(crate) fn reads(&self, name: &str) -> bool {
        match self {
            Self::Rename { from } | Self::Copy { from } | Self::Split { from, .. } => from == name,
            Self::Concat { paths, .. } => paths.iter().any(|path| path == name),
        }
    }
}

/// How a text is masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mask {
    /// A fixed text.
    Redact { to: String },
    /// The hash of the salt and the value, as hexadecimal digits in lower case.
    Hash { hash: Hash, salt: String },
}

/// The hash functions of [`Mask::Hash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Mask {
    /// The text that replaces `text`.
    pub(crate) fn apply(&self, text: &str) -> String {
        match self {
            Self::Redact { to } => to.clone(),
            Self::Hash { hash, salt } => match hash {
                Hash::Md5 => hex::<Md5>(salt, text),
                Hash::Sha1 => hex::<Sha1>(salt, text),
                Hash::Sha256 => hex::<Sha256>(salt, text),
                Hash::Sha512 => hex::<Sha512>(salt, text),
            },
        }
    }
}

fn hex<D: Digest>(salt: &str, text: &str) -> String {
    let digest = D::new()
        .chain_update(salt.as_bytes())
        .chain_update(text.as_bytes())
        .finalize();
    let mut hex = String::with_capacity(digest.len() * 2);
    for byte in digest.iter() {
        // writing to a string cannot fail
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Which transformations a type and the types below it declare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// A text has a structure of its own.
    pub(crate) embedded: bool,
    /// A field takes its value from another one.
    pub(crate) sourced: bool,
    /// A value is masked.
    pub(crate) masked: bool,
}

impl Changes {
    /// True if a record has to be rewritten.
    pub(crate) fn any(self) -> bool {
        self.embedded || self.sourced || self.masked
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            embedded: self.embedded || other.embedded,
            sourced: self.sourced || other.sourced,
            masked: self.masked || other.masked,
        }
    }
}

impl ValueType {
    /// The transformations of this type and of the types below it.
    pub(crate) fn changes(&self) -> Changes {
        match self {
            Self::String(string) => Changes {
                masked: string.mask.is_some(),
                ..Changes::default()
            },
            Self::Object(object) => object.changes,
            Self::Array(element) => element.changes(),
            Self::Embedded { of, .. } => Changes {
                embedded: true,
                ..of.changes()
            },
            _ => Changes::default(),
        }
    }
}

/// Compiles the transformations that give a field its value.
///
/// # Errors
/// The name of the option, and the problem.
pub(super) fn sources(file: &ValueFile) -> Result<Vec<Source>, (&'static str, String)> {
    let mut sources = Vec::new();
    if let Some(rename) = &file.rename {
        if file.name.as_ref() == Some(&rename.from) {
            return Err(("rename", "`from` is the name of the field itself".into()));
        }
        sources.push(Source::Rename {
            from: path("rename", &rename.from)?,
        });
    }
    if let Some(copy) = &file.copy {
        sources.push(Source::Copy {
            from: path("copy", &copy.from)?,
        });
    }
    if let Some(concat) = &file.concat {
        if concat.paths.is_empty() || concat.paths.len() > MAX_PATHS {
            return Err(("concat", format!("needs 1 to {MAX_PATHS} paths")));
        }
        sources.push(Source::Concat {
            paths: concat
                .paths
                .iter()
                .map(|text| path("concat", text))
                .collect::<Result<_, _>>()?,
            separator: text("concat", &concat.separator)?,
        });
    }
    if let Some(split) = &file.split {
        if split.separator.is_empty() {
            return Err(("split", "the separator is empty".into()));
        }
        let (wanted, form) = match split.index {
            Some(_) => (file.kind != "array", "one part"),
            None => (
                file.kind == "array",
                "without an index, it makes an array of all parts",
            ),
        };
        if !wanted {
            return Err((
                "split",
                format!(
                    "{form}, which does not fit a field of type {}: an array takes no index, other types need one",
                    file.kind
                ),
            ));
        }
        sources.push(Source::Split {
            from: path("split", &split.from)?,
            separator: text("split", &split.separator)?,
            index: split.index,
        });
    }
    Ok(sources)
}

fn path(option: &'static str, path: &str) -> Result<String, (&'static str, String)> {
    if path.is_empty() {
        return Err((option, "a path is empty".into()));
    }
    text(option, path)
}

fn text(option: &'static str, text: &str) -> Result<String, (&'static str, String)> {
    if text.len() > MAX_TEXT {
        return Err((option, format!("a text is longer than {MAX_TEXT} bytes")));
    }
    Ok(text.into())
}

/// Compiles `mask`.
///
/// # Errors
/// The option that is wrong.
pub(super) fn mask(file: &MaskFile) -> Result<Mask, String> {
    let hash = match file.kind.as_str() {
        "redact" => {
            if file.salt.is_some() {
                return Err("`redact` takes no salt".into());
            }
            let to = file.to.as_deref().unwrap_or("REDACTED");
            return text("mask", to)
                .map(|to| Mask::Redact { to })
                .map_err(|(_, problem)| problem);
        }
        "md5" => Hash::Md5,
        "sha1" => Hash::Sha1,
        "sha256" => Hash::Sha256,
        "sha512" => Hash::Sha512,
        other => {
            return Err(format!(
                "`{other}` is no type of mask: use redact, md5, sha1, sha256 or sha512"
            ));
        }
    };
    if file.to.is_some() {
        return Err("`to` belongs to the type redact".into());
    }
    text("mask", file.salt.as_deref().unwrap_or_default())
        .map(|salt| Mask::Hash { hash, salt })
        .map_err(|(_, problem)| problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_salt_and_the_value() {
        let masked = |hash, salt: &str, text: &str| {
            Mask::Hash {
                hash,
                salt: salt.into(),
            }
            .apply(text)
        };
        assert_eq!(
            masked(Hash::Md5, "", "abc"),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert_eq!(
            masked(Hash::Sha1, "a", "bc"),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        assert_eq!(
            masked(Hash::Sha256, "ab", "c"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(masked(Hash::Sha512, "", "abc").starts_with("ddaf35a193617aba"));
    }
}
