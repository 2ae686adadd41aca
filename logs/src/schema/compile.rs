//! Schema compiler: resolves references, checks that names are unique, and compiles patterns. Every error names its field.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Field, Form, ObjectType, Schema, SchemaError, Source, StringType, ValueType,
    file::{SchemaFile, ValueFile},
    names::Names,
    transform::{self, Changes},
    validation::Validation,
};
use crate::{indicators::Scanner, time::TimeFormat};

/// Maximum nesting depth of a schema, with references resolved.
const MAX_NESTING: usize = 64;
/// Maximum nesting depth of the YAML, with two levels for each inline object. At this depth the recursive reader needs half of a 2 MB stack
/// in an unoptimised build. References can nest deeper.
const YAML_DEPTH: usize = 64;
/// Maximum number of required fields of one object, because the check uses one bit per field in a `u128`.
const MAX_REQUIRED: usize = 128;
/// Maximum length of a log type's name, in bytes.
const MAX_NAME: usize = 255;

/// Parses and validates a schema.
///
/// # Errors
/// The first problem found, with the path of its field.
pub(crate) fn compile(yaml: &str) -> Result<Schema, SchemaError> {
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: YAML_DEPTH }, with_snippet: false };
    let file: SchemaFile =
        serde_saphyr::from_str_with_options(yaml, options).map_err(|error| SchemaError {
            schema: declared_name(yaml),
            path: String::new(),
            problem: format!("cannot be read: {error}"),
        })?;
    let mut compiler = Compiler {
        definitions: &file.definitions,
        done: BTreeMap::new(),
        following: Vec::new(),
        candidates: 0,
    };
    compile_file(&file, &mut compiler).map_err(|Problem { path, problem }| SchemaError {
        schema: file.schema.clone(),
        path: shown(&path),
        problem,
    })
}

/// A path for messages. The middle of a long path is left out.
fn shown(path: &[String]) -> String {
    const ENDS: usize = 8;
    match (
        path.get(..ENDS),
        path.get(path.len().saturating_sub(ENDS)..),
    ) {
        (Some(first), Some(last)) if path.len() > 2 * ENDS => {
            format!("{} … {}", first.join("."), last.join("."))
        }
        _ => path.join("."),
    }
}

/// The declared name in a file that cannot be parsed completely.
fn declared_name(yaml: &str) -> String {
    let name = yaml
        .lines()
        .find_map(|line| line.strip_prefix("schema:"))
        .unwrap_or("?");
    name.trim().trim_matches(['"', '\'']).into()
}

fn compile_file<'f>(file: &'f SchemaFile, compiler: &mut Compiler<'f>) -> Result<Schema, Problem> {
    if file.version != 0 {
        return Err(Problem::at(
            "version",
            format!("version {} is not known: only 0 is", file.version),
        ));
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if file.schema.is_empty() || file.schema.len() > MAX_NAME || !file.schema.bytes().all(named) {
        return Err(Problem::at(
            "schema",
            format!("a log type's name is 1 to {MAX_NAME} letters, digits, `.`, `_` or `-`"),
        ));
    }
    if let Some(parser) = &file.parser {
        let given = [
            parser.csv.is_some(),
            parser.fastmatch.is_some(),
            parser.regex.is_some(),
            parser.native.is_some(),
            parser.key_value.is_some(),
            parser.cef.is_some(),
            parser.leef.is_some(),
            parser.syslog.is_some(),
        ];
        let count = given.iter().filter(|given| **given).count();
        if count > 1 || count == 0 && parser.header.is_none() {
            return Err(Problem::at(
                "parser",
                "must be exactly one of csv, fastmatch, regex, keyValue, cef, leef, syslog and native",
            ));
        }
    }
    if file.fields.is_empty() {
        return Err(Problem::at("fields", "there must be at least one"));
    }
    // every definition is compiled, so that an error in an unused one is reported too
    for name in file.definitions.keys() {
        compiler.reference(name, 0)?;
    }
    let (mut root, _) = compiler
        .object(&file.fields, 0)
        .map_err(|problem| problem.under("fields"))?;
    for name in &file.requires_one_of {
        if root.field(name).is_none() {
            return Err(Problem::at(
                "requiresOneOf",
                format!("`{name}` is not among the fields"),
            ));
        }
        root.one_of.push(name.as_str().into());
    }
    Ok(Schema {
        name: file.schema.as_str().into(),
        description: file.description.clone(),
        reference: file.reference_url.clone(),
        root,
        parser: file.parser.clone(),
    })
}

/// A problem and the path to it.
struct Problem {
    path: Vec<String>,
    problem: String,
}

impl Problem {
    fn here(problem: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            problem: problem.into(),
        }
    }

    fn at(name: &str, problem: impl Into<String>) -> Self {
        Self::here(problem).under(name)
    }

    fn under(mut self, name: &str) -> Self {
        self.path.insert(0, name.into());
        self
    }
}

struct Compiler<'f> {
    definitions: &'f BTreeMap<String, ValueFile>,
    /// Compiled definitions with their nesting depths. All references to a definition share it.
    done: BTreeMap<&'f str, (Arc<ValueType>, usize)>,
    following: Vec<&'f str>,
    candidates: u32,
}

impl<'f> Compiler<'f> {
    /// Compiles an object type. Returns it with its nesting depth.
    fn object(
        &mut self,
        files: &'f [ValueFile],
        depth: usize,
    ) -> Result<(ObjectType, usize), Problem> {
        let mut below = 0;
        let mut fields: Vec<Field> = Vec::with_capacity(files.len());
        let mut required = 0u128;
        let mut count = 0;
        let mut changes = Changes::default();
        let mut renames: Vec<(Box<str>, usize)> = Vec::new();
        for file in files {
            let Some(name) = file.name.as_deref().filter(|name| !name.is_empty()) else {
                return Err(Problem::here("a field has no name"));
            };
            if let Some(other) = fields
                .iter()
                .find(|other| other.name.to_lowercase() == name.to_lowercase())
            {
                return Err(Problem::at(
                    name,
                    format!("the name differs from `{}` at most in case", other.name),
                ));
            }
            if crate::event::is_reserved(name) {
                return Err(Problem::at(
                    name,
                    "the name is one of the standard fields that every event gets",
                ));
            }
            let (value, levels) = self
                .value(file, depth)
                .map_err(|problem| problem.under(name))?;
            below = below.max(levels);
            let mut bit = 0;
            if file.required {
                if count == MAX_REQUIRED {
                    return Err(Problem::at(
                        name,
                        format!("more than {MAX_REQUIRED} required fields in one object"),
                    ));
                }
                bit = 1 << count;
                count += 1;
                required |= bit;
            }
            let sources = transform::sources(file)
                .map_err(|(option, problem)| Problem::at(option, problem).under(name))?;
            changes = changes.and(value.changes()).and(Changes {
                sourced: !sources.is_empty(),
                ..Changes::default()
            });
            for source in &sources {
                if let Source::Rename { from } = source {
                    if renames.iter().any(|(known, _)| **known == **from) {
                        return Err(Problem::at(
                            "rename",
                            format!("another field takes over `{from}` too"),
                        )
                        .under(name));
                    }
                    renames.push((from.as_str().into(), fields.len()));
                }
            }
            fields.push(Field {
                name: name.into(),
                value,
                required: bit,
                sources,
            });
        }
        let names = Names::new(
            fields
                .iter()
                .map(|field| &*field.name)
                .collect::<Vec<_>>()
                .into_iter(),
        );
        Ok((
            ObjectType {
                fields,
                names,
                one_of: Vec::new(),
                required,
                renames,
                changes,
            },
            below,
        ))
    }

    /// Compiles a type. Returns it with its nesting depth.
    fn value(
        &mut self,
        file: &'f ValueFile,
        depth: usize,
    ) -> Result<(Arc<ValueType>, usize), Problem> {
        if depth > MAX_NESTING {
            return Err(Problem::here(format!("nested deeper than {MAX_NESTING}")));
        }
        self.check_options(file)?;
        let mut below = 0;
        let value = match file.kind.as_str() {
            "string" => ValueType::String(StringType {
                scanners: scanners(&file.indicators)?,
                validation: file
                    .validate
                    .as_ref()
                    .map(|file| Validation::compile(file).map(Box::new))
                    .transpose()
                    .map_err(|problem| Problem::at("validate", problem))?,
                mask: file
                    .mask
                    .as_ref()
                    .map(transform::mask)
                    .transpose()
                    .map_err(|problem| Problem::at("mask", problem))?,
            }),
            "int" | "smallint" | "bigint" => ValueType::Integer,
            "float" => ValueType::Float,
            "boolean" => ValueType::Boolean,
            "timestamp" => {
                let (option, formats) = match (&file.time_format, &file.time_formats) {
                    (Some(format), None) => ("timeFormat", std::slice::from_ref(format)),
                    (None, Some(formats)) => ("timeFormats", formats.as_slice()),
                    (Some(_), Some(_)) => {
                        return Err(Problem::at("timeFormats", "give these or timeFormat"));
                    }
                    (None, None) => {
                        return Err(Problem::at("timeFormat", "a timestamp needs one"));
                    }
                };
                let format =
                    TimeFormat::any_of(formats).map_err(|problem| Problem::at(option, problem))?;
                let candidate = file.is_event_time.then(|| {
                    self.candidates += 1;
                    self.candidates
                });
                ValueType::Timestamp { format, candidate }
            }
            "object" => match file.fields.as_deref() {
                Some(fields) if !fields.is_empty() => {
                    let (object, levels) = self
                        .object(fields, depth + 1)
                        .map_err(|problem| problem.under("fields"))?;
                    below = levels + 1;
                    ValueType::Object(object)
                }
                _ => {
                    return Err(Problem::at(
                        "fields",
                        "an object needs at least one; for an object of unknown shape use `type: json`",
                    ));
                }
            },
            "array" => match &file.element {
                Some(element) if element.name.is_some() => {
                    return Err(Problem::at("element", "an element has no name"));
                }
                Some(element) => {
                    let (element, levels) = self
                        .value(element, depth + 1)
                        .map_err(|problem| problem.under("element"))?;
                    below = levels + 1;
                    ValueType::Array(element)
                }
                None => return Err(Problem::at("element", "an array needs one")),
            },
            "json" => match file.indicators.as_slice() {
                [] => ValueType::Json { aws: false },
                [one] if one == "aws" => ValueType::Json { aws: true },
                _ => {
                    return Err(Problem::at(
                        "indicators",
                        "a json field takes only `aws`, the extractor for AWS payloads",
                    ));
                }
            },
            "ref" => match file.target.as_deref() {
                Some(target) => {
                    let (value, levels) = self.reference(target, depth)?;
                    return Ok((embedded(file, value)?, levels));
                }
                None => return Err(Problem::at("target", "a ref needs one")),
            },
            other => {
                return Err(Problem::at(
                    "type",
                    format!(
                        "`{other}` is no type: use string, int, smallint, bigint, float, boolean, timestamp, object, array, json or ref"
                    ),
                ));
            }
        };
        Ok((embedded(file, Arc::new(value))?, below))
    }

    /// Rejects options that the type does not support, because an author would expect an ignored option to have an effect.
    fn check_options(&self, file: &ValueFile) -> Result<(), Problem> {
        let kind = file.kind.as_str();
        let only = |given: bool, option: &str, kinds: &[&str]| {
            if given && !kinds.contains(&kind) {
                return Err(Problem::at(
                    option,
                    format!("a field of type {kind} has none"),
                ));
            }
            Ok(())
        };
        only(file.fields.is_some(), "fields", &["object"])?;
        only(file.element.is_some(), "element", &["array"])?;
        only(file.target.is_some(), "target", &["ref"])?;
        only(file.time_format.is_some(), "timeFormat", &["timestamp"])?;
        only(file.time_formats.is_some(), "timeFormats", &["timestamp"])?;
        only(file.is_event_time, "isEventTime", &["timestamp"])?;
        only(file.is_expiration, "isExpiration", &["timestamp"])?;
        only(
            !file.indicators.is_empty(),
            "indicators",
            &["string", "json"],
        )?;
        only(file.validate.is_some(), "validate", &["string"])?;
        only(file.mask.is_some(), "mask", &["string"])?;
        for (given, option) in [
            (file.rename.is_some(), "rename"),
            (file.copy.is_some(), "copy"),
            (file.concat.is_some(), "concat"),
            (file.split.is_some(), "split"),
        ] {
            if given && file.name.is_none() {
                return Err(Problem::at(
                    option,
                    "only a field of an object can have one",
                ));
            }
        }
        Ok(())
    }

    fn reference(
        &mut self,
        target: &str,
        depth: usize,
    ) -> Result<(Arc<ValueType>, usize), Problem> {
        let definitions: &'f BTreeMap<String, ValueFile> = self.definitions;
        let Some((name, file)) = definitions.get_key_value(target) else {
            return Err(Problem::at(
                "target",
                format!("`{target}` is not among the definitions"),
            ));
        };
        if let Some((done, below)) = self.done.get(name.as_str()) {
            if depth + below > MAX_NESTING {
                return Err(Problem::here(format!("nested deeper than {MAX_NESTING}")));
            }
            return Ok((Arc::clone(done), *below));
        }
        if self.following.contains(&name.as_str()) {
            return Err(Problem::at(
                "definitions",
                format!(
                    "`{target}` refers to itself by way of {}",
                    self.following.join(", ")
                ),
            ));
        }
        if self.following.len() >= MAX_NESTING {
            return Err(Problem::here(format!(
                "references go on over more than {MAX_NESTING} definitions"
            )));
        }
        self.following.push(name);
        let value = self
            .value(file, depth)
            .map_err(|problem| problem.under(target).under("definitions"));
        self.following.pop();
        let (value, below) = value?;
        self.done.insert(name, (Arc::clone(&value), below));
        Ok((value, below))
    }
}

/// The type of a field whose text has a form of its own; `value` itself for other fields.
fn embedded(file: &ValueFile, value: Arc<ValueType>) -> Result<Arc<ValueType>, Problem> {
    let (option, form) = match (&file.parse, file.is_embedded_json) {
        (None, false) => return Ok(value),
        (Some(_), true) => return Err(Problem::at("parse", "give this or isEmbeddedJSON")),
        (None, true) => ("isEmbeddedJSON", Form::Json),
        (Some(name), false) => (
            "parse",
            Form::named(name).map_err(|problem| Problem::at("parse", problem))?,
        ),
    };
    let holds = match &*value {
        ValueType::Object(_) | ValueType::Json { .. } => true,
        ValueType::Array(_) => form == Form::Json,
        _ => false,
    };
    if !holds {
        return Err(Problem::at(
            option,
            "only an object or json can have one, and an array for JSON",
        ));
    }
    Ok(Arc::new(ValueType::Embedded { form, of: value }))
}

fn scanners(names: &[String]) -> Result<Vec<Scanner>, Problem> {
    names
        .iter()
        .map(|name| {
            Scanner::named(name).ok_or_else(|| {
                Problem::at(
                    "indicators",
                    format!("`{name}` is not known: use {}", Scanner::names()),
                )
            })
        })
        .collect()
}
