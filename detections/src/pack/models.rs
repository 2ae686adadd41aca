//! From a data model's YAML to what it maps.

use super::fields::{Fields, MAX_ENTRIES, MAX_ID};
use super::items::{Item, Reader};
use super::schema;
use super::types::{DataModel, Mapping, MappingTarget};

impl Reader<'_> {
    pub(super) fn data_model(&mut self, item: &Item) {
        let mut fields = Fields::new(&item.file, "", &item.map, &mut self.problems);
        let id = fields.id("DataModelID");
        let display_name = fields.text("DisplayName", MAX_ID);
        let enabled = fields.boolean("Enabled").unwrap_or(true);
        let log_types = fields.texts("LogTypes");
        if log_types.len() != 1 {
            fields.problem(
                "LogTypes",
                format!(
                    "a data model is for exactly one log type, not {}",
                    log_types.len()
                ),
            );
        }
        let has_file = fields.has("Filename");
        let maps = fields.mappings("Mappings");
        if maps.is_empty() {
            fields.problem("Mappings", format!("must hold 1 to {MAX_ENTRIES} mappings"));
        }
        let mut mappings = Vec::with_capacity(maps.len());
        for (place, map) in maps {
            let mut fields = Fields::new(&item.file, place, map, &mut self.problems);
            fields.only(&[schema::MAPPING]);
            let name = fields.required_text("Name", MAX_ID);
            let target = match (fields.text("Path", MAX_ID), fields.text("Method", MAX_ID)) {
                (Some(path), None) => Some(MappingTarget::Path(path)),
                (None, Some(method)) if has_file => Some(MappingTarget::Method(method)),
                (None, Some(_)) => {
                    fields.problem(
                        "Method",
                        "the data model has no Filename that could define it",
                    );
                    None
                }
                _ => {
                    fields.problem("Path", "exactly one of Path and Method is needed");
                    None
                }
            };
            if let (Some(name), Some(target)) = (name, target) {
                mappings.push(Mapping { name, target });
            }
        }
        let body = if has_file { self.body(item) } else { None };
        let (text_file, text) = body.unzip();
        if let (Some(id), Some(log_type)) = (id, log_types.into_iter().next()) {
            self.pack.data_models.push(DataModel {
                id,
                file: item.file.clone(),
                display_name,
                enabled,
                log_type,
                mappings,
                text_file,
                text,
            });
        }
    }
}
