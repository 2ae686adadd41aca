//! The folder that one template loads: our own Python modules, and, once they are known, the pack's manifest with the code of its detections, and its globals and
//! data models as files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::settings::EngineFault;
use crate::pack::{DataModel, Detection, DetectionKind, Global, Mapping, Pack, Severity, Source};
use crate::python::sources;

#[derive(Serialize)]
struct Manifest<'a> {
    version: &'a str,
    detections: Vec<DetectionEntry<'a>>,
    globals: Vec<GlobalEntry<'a>>,
    data_models: Vec<DataModelEntry<'a>>,
}

#[derive(Serialize)]
struct DetectionEntry<'a> {
    index: usize,
    id: &'a str,
    kind: DetectionKind,
    /// The file of the pack in which the author has written the body: what errors name.
    file: &'a str,
    path: Option<String>,
    /// The Python that goes by this path.
    text: Option<&'a str>,
    simple: Option<&'a BTreeMap<String, Value>>,
    log_types: &'a [String],
    display_name: Option<&'a str>,
    description: &'a str,
    reference: &'a str,
    runbook: &'a str,
    severity: Severity,
    tags: &'a [String],
    reports: &'a BTreeMap<String, Vec<String>>,
    dedup_minutes: u32,
    inline_filters: Option<&'a Value>,
    enabled: bool,
}

#[derive(Serialize)]
struct GlobalEntry<'a> {
    id: &'a str,
    file: &'a str,
    path: String,
}

#[derive(Serialize)]
struct DataModelEntry<'a> {
    id: &'a str,
    log_type: &'a str,
    enabled: bool,
    file: &'a str,
    path: Option<String>,
    mappings: &'a [Mapping],
}

/// What of a pack goes into a layer, owned, so that it can be written off the async threads.
pub(super) struct Content {
    files: Vec<(String, String)>,
}

/// The entry point below a layer.
pub(super) fn entry(layer: &Path) -> PathBuf {
    layer.join("runtime").join(sources::ENTRY)
}

/// The layer of those detections of `pack` that `wanted` takes. Their indices stay those of the pack.
pub(super) fn content(pack: &Pack, wanted: impl Fn(usize, &Detection) -> bool) -> Content {
    let mut files = Vec::new();
    let mut detections = Vec::new();
    for (index, detection) in pack
        .detections
        .iter()
        .enumerate()
        .filter(|(index, detection)| wanted(*index, detection))
    {
        let (file, path, text, simple) = match &detection.source {
            Source::Python { file, text } => {
                let path = format!("detections/{index:04}.py");
                (file, Some(path), Some(text.as_str()), None)
            }
            Source::Simple(keys) => (&detection.file, None, None, Some(keys)),
        };
        detections.push(DetectionEntry {
            index,
            id: &detection.id,
            kind: detection.kind,
            file,
            path,
            text,
            simple,
            log_types: &detection.log_types,
            display_name: detection.display_name.as_deref(),
            description: &detection.description,
            reference: &detection.reference,
            runbook: &detection.runbook,
            severity: detection.severity,
            tags: &detection.tags,
            reports: &detection.reports,
            dedup_minutes: detection.dedup_minutes,
            inline_filters: detection.inline_filters.as_ref(),
            enabled: detection.enabled,
        });
    }
    let globals = pack
        .globals
        .iter()
        .map(|global| global_entry(global, &mut files))
        .collect();
    let data_models = pack
        .data_models
        .iter()
        .enumerate()
        .map(|(index, model)| data_model_entry(index, model, &mut files))
        .collect();
    let manifest = Manifest {
        version: &pack.version,
        detections,
        globals,
        data_models,
    };
    // Text keys and values only: writing them into memory cannot fail.
    files.push((
        "manifest.json".to_owned(),
        serde_json::to_string(&manifest).unwrap_or_default(),
    ));
    Content { files }
}

fn global_entry<'a>(global: &'a Global, files: &mut Vec<(String, String)>) -> GlobalEntry<'a> {
    let path = format!("globals/{}.py", global.id);
    files.push((path.clone(), global.text.clone()));
    GlobalEntry {
        id: &global.id,
        file: &global.file,
        path,
    }
}

fn data_model_entry<'a>(
    index: usize,
    model: &'a DataModel,
    files: &mut Vec<(String, String)>,
) -> DataModelEntry<'a> {
    let path = model.text.as_ref().map(|text| {
        let path = format!("models/{index:04}.py");
        files.push((path.clone(), text.clone()));
        path
    });
    DataModelEntry {
        id: &model.id,
        log_type: &model.log_type,
        enabled: model.enabled,
        file: model.text_file.as_deref().unwrap_or(&model.file),
        path,
        mappings: &model.mappings,
    }
}

impl Content {
    /// Writes it into the folder `layer`, which has none of it yet. Blocking.
    pub(super) fn write(&self, layer: &Path) -> Result<(), EngineFault> {
        for folder in ["models", "globals"] {
            make(&layer.join(folder))?;
        }
        let mut files = self.files.iter();
        files.try_for_each(|(path, text)| write(&layer.join(path), text))
    }
}

/// Writes our own modules into the fresh folder `layer`. Blocking.
pub(super) fn write_runtime(layer: &Path) -> Result<(), EngineFault> {
    let runtime = layer.join("runtime");
    for (path, text) in sources::SOURCES {
        write(&runtime.join(path), text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), EngineFault> {
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        make(folder)?;
    }
    fs::write(path, text).map_err(EngineFault::io(format!("writing {}", path.display())))
}

fn make(folder: &Path) -> Result<(), EngineFault> {
    fs::create_dir_all(folder).map_err(EngineFault::io(format!(
        "making the folder {}",
        folder.display()
    )))
}
