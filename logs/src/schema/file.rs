//! The YAML form of a schema, as its author writes it.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SchemaFile {
    #[serde(default)]
    pub(super) version: u32,
    pub(super) schema: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default, rename = "referenceURL")]
    pub(super) reference_url: String,
    /// Accepted for compatibility, because existing schemas set it. It has no effect: unknown fields are always kept.
    #[serde(default)]
    #[allow(dead_code, reason = "read to be accepted")]
    pub(super) field_discovery_enabled: bool,
    pub(super) parser: Option<ParserFile>,
    #[serde(default)]
    pub(super) definitions: BTreeMap<String, ValueFile>,
    /// A record must have at least one of these fields. For log types whose records carry their time under different names.
    #[serde(default)]
    pub(super) requires_one_of: Vec<String>,
    pub(super) fields: Vec<ValueFile>,
}

/// A field, an array element, or a definition. The three have the same form, except that only a field has a name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ValueFile {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    #[allow(dead_code, reason = "for the reader of the file")]
    pub(super) description: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) fields: Option<Vec<ValueFile>>,
    pub(super) element: Option<Box<ValueFile>>,
    pub(super) target: Option<String>,
    pub(super) time_format: Option<String>,
    /// Several time formats, tried in order.
    pub(super) time_formats: Option<Vec<String>>,
    #[serde(default)]
    pub(super) is_event_time: bool,
    #[serde(default)]
    pub(super) indicators: Vec<String>,
    /// Accepted for compatibility: it concerns the rows of lookup tables and has no effect on events.
    #[serde(default)]
    pub(super) is_expiration: bool,
    pub(super) validate: Option<ValidateFile>,
    /// The value is a text of this form: `json`, `keyValue`, `cef`, `leef` or `syslog`.
    pub(super) parse: Option<String>,
    /// The value is a text that holds JSON; the same as `parse: json`.
    #[serde(default, rename = "isEmbeddedJSON")]
    pub(super) is_embedded_json: bool,
    pub(super) rename: Option<FromFile>,
    pub(super) copy: Option<FromFile>,
    pub(super) concat: Option<ConcatFile>,
    pub(super) split: Option<SplitFile>,
    pub(super) mask: Option<MaskFile>,
}

/// `rename` or `copy`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FromFile {
    pub(super) from: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConcatFile {
    pub(super) paths: Vec<String>,
    #[serde(default)]
    pub(super) separator: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitFile {
    pub(super) from: String,
    pub(super) separator: String,
    /// Number of the part, from 0 on. Without it, the field is the array of all parts.
    pub(super) index: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaskFile {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// For hashes: the text before the value.
    pub(super) salt: Option<String>,
    /// For `redact`: the text in the place of the value.
    pub(super) to: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ValidateFile {
    #[serde(default)]
    pub(super) allow: Vec<String>,
    #[serde(default)]
    pub(super) deny: Vec<String>,
    /// Allowed suffixes; the text must have one of them. For names whose first part differs between customers.
    #[serde(default)]
    pub(super) ends_with: Vec<String>,
    /// The text must be an IP address: `any`, `ipv4` or `ipv6`.
    pub(super) ip: Option<String>,
    /// The text must be a network in the form `address/length`: `any`, `ipv4` or `ipv6`.
    pub(super) cidr: Option<String>,
}

/// The parser of a text format: at most one parser, and optionally the header that stands before its text. With `header` alone, the text
/// is JSON.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ParserFile {
    /// `syslog`: lines may begin with a syslog header, which becomes the field `syslog`.
    pub(crate) header: Option<String>,
    pub(crate) csv: Option<CsvFile>,
    pub(crate) fastmatch: Option<PatternFile>,
    pub(crate) regex: Option<PatternFile>,
    pub(crate) native: Option<NativeFile>,
    pub(crate) key_value: Option<KeyValueFile>,
    pub(crate) cef: Option<NoOptions>,
    pub(crate) leef: Option<NoOptions>,
    pub(crate) syslog: Option<NoOptions>,
}

/// A parser without options, written `{}`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoOptions {}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct KeyValueFile {
    /// The text between two pairs; white space by default.
    pub(crate) pair_separator: Option<String>,
    /// The text between a key and its value; `=` by default.
    pub(crate) key_separator: Option<String>,
    /// A word without a key is a field with the value `true`, as in logfmt. Without it, the word belongs to the value before it.
    #[serde(default)]
    pub(crate) flags: bool,
    #[serde(default)]
    pub(crate) empty_values: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CsvFile {
    pub(crate) delimiter: Option<String>,
    #[serde(default)]
    pub(crate) has_header: bool,
    #[serde(default)]
    pub(crate) columns: Vec<String>,
    #[serde(default)]
    pub(crate) trim_space: bool,
    pub(crate) skip_prefix: Option<String>,
    #[serde(default)]
    pub(crate) empty_values: Vec<String>,
    #[serde(default)]
    pub(crate) expand_fields: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PatternFile {
    #[serde(rename = "match")]
    pub(crate) patterns: Vec<String>,
    #[serde(default)]
    pub(crate) pattern_definitions: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) skip_lines: u64,
    pub(crate) skip_prefix: Option<String>,
    #[serde(default)]
    pub(crate) empty_values: Vec<String>,
    #[serde(default)]
    pub(crate) expand_fields: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) trim_space: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NativeFile {
    pub(crate) name: String,
}
