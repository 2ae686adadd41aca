//! The components of the run book: one folder for each function with what belongs to it, and what several of them share.
//!
//! `component.toml` in a folder describes the function, its queue, dead letter queue, tables and topics; `mod.rs` holds its code. A component that is
//! not built yet has a file in `planned/`. [`ALL`] lists them: what is not in this list does not exist.
//!
//! * [`objects`]: names of objects, and the notifications that announce them
//! * [`sources`]: log sources as rows; [`log_types`]: built-in and user-made log types
//! * [`pack`]: the live pack of detections, and the engine that runs it

use std::sync::OnceLock;

use crate::catalogue::Catalogue;
use crate::component::Registration;

pub mod log_types;
pub mod notifications;
pub mod objects;
pub mod pack;
pub(crate) mod source_health;
pub mod sources;

/// Components with code: a folder each. Planned ones: a file each. Others: what the node itself keeps.
macro_rules! components {
    (built: $($built:ident)*; described: $($described:literal)*) => {
        $(pub mod $built;)*

        /// All components.
        pub const ALL: &[Registration] = &[
            $(Registration {
                file: concat!(stringify!($built), "/component.toml"),
                text: include_str!(concat!(stringify!($built), "/component.toml")),
                build: Some($built::build),
            },)*
            $(Registration {
                file: $described,
                text: include_str!($described),
                build: None,
            },)*
        ];
    };
}

components! {
    built:
        alert_delivery
        alerts_api
        analysis_api
        layer_manager
        log_alert_forwarder
        log_processor
        outputs_api
        rules_engine
        source_api
        storage_collector;
    described:
        "node/component.toml"
        "planned/alert_forwarder.toml"
        "planned/alert_processor.toml"
        "planned/athena_api.toml"
        "planned/aws_event_processor.toml"
        "planned/aws_remediation.toml"
        "planned/compliance_api.toml"
        "planned/datacatalog_updater.toml"
        "planned/graphql_api.toml"
        "planned/organization_api.toml"
        "planned/policy_engine.toml"
        "planned/remediation_api.toml"
        "planned/remediation_processor.toml"
        "planned/resource_processor.toml"
        "planned/resources_api.toml"
        "planned/snapshot_pollers.toml"
        "planned/snapshot_scheduler.toml"
        "planned/users_api.toml"
        "planned/web.toml"
}

/// The catalogue of all components.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "the files are part of the program, and a test reads them"
)]
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let files = ALL.iter().map(|component| (component.file, component.text));
        Catalogue::read(files).expect("the components' files are well-formed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Built, FindError, Kind};

    #[test]
    fn all_64_components_of_the_run_book_are_described_once() {
        assert_eq!(catalogue().components.len(), 64);
    }

    #[test]
    fn every_component_says_what_it_is_for_and_what_brings_it_back() {
        for component in &catalogue().components {
            assert!(
                !component.failure_impact.is_empty() && !component.recovery.is_empty(),
                "{}",
                component.identity()
            );
            assert!(
                component.built == Built::Yes || !component.built_note.is_empty(),
                "{} does not say what is missing",
                component.identity()
            );
        }
    }

    #[test]
    fn every_file_lies_in_the_list() {
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/components"));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Ok(inner) = std::fs::read_dir(path) else {
                continue;
            };
            let inner = inner.map(|entry| entry.unwrap().path());
            files.extend(inner.filter(|path| path.extension().is_some_and(|end| end == "toml")));
        }
        let listed: Vec<_> = ALL.iter().map(|one| folder.join(one.file)).collect();
        files.retain(|file| !listed.contains(file));
        assert!(files.is_empty(), "not in `components!`: {files:?}");
    }

    #[test]
    fn every_function_that_is_built_has_code_and_no_other() {
        for one in ALL {
            let unit = Catalogue::read([(one.file, one.text)]).unwrap();
            let built = unit
                .all()
                .any(|component| component.kind == Kind::Function && component.built != Built::No);
            assert_eq!(built, one.build.is_some(), "{}", one.file);
        }
    }

    #[test]
    fn every_queue_has_a_dead_letter_queue_that_names_it() {
        let catalogue = catalogue();
        // What was deleted is handled by no component, and so cannot fail.
        let handled = catalogue.all().filter(|component| {
            component.kind == Kind::Queue && component.name != crate::retention::DELETED
        });
        for queue in handled {
            let dlq = catalogue
                .find(catalogue.dlq_of(&queue.name).unwrap())
                .unwrap();
            assert_eq!(
                dlq.queue.as_ref().unwrap().dead_letters_of.as_deref(),
                Some(queue.name.as_str())
            );
        }
    }

    #[test]
    fn every_topic_and_queue_that_is_named_exists() {
        let catalogue = catalogue();
        let exists = |name: &str, kind: Kind| {
            let identity = format!("{name}/{}", kind.as_str());
            catalogue.find(&identity).is_ok()
        };
        for component in catalogue.all() {
            let topics = component.queue.iter().flat_map(|queue| &queue.subscribes);
            for filter in topics {
                assert!(exists(&filter.topic, Kind::Topic), "{}", filter.topic);
            }
            for feed in component.table.iter().flat_map(|table| &table.feeds) {
                assert!(exists(&feed.queue, Kind::Queue), "{}", feed.queue);
            }
        }
    }

    #[test]
    fn a_bare_name_is_taken_where_it_is_unique_and_refused_with_the_choices_where_it_is_not() {
        let catalogue = catalogue();
        assert!(catalogue.find("panther-alerts-queue").is_ok());
        let error = catalogue.find("panther-analysis-api").unwrap_err();
        assert!(
            error.to_string().contains("panther-analysis-api/function"),
            "{error}"
        );
        assert!(catalogue.find("panther-analysis-api/gateway").is_ok());
        assert!(matches!(
            catalogue.find("panther-alert"),
            Err(FindError::Unknown { near: Some(_), .. })
        ));
    }

    #[test]
    fn only_queues_with_a_built_consumer_are_subscribed() {
        let declared = crate::catalogue::declarations(catalogue(), "0.1.0");
        let processed = declared
            .topics
            .iter()
            .find(|topic| topic.name == "panther-processed-data-notifications")
            .unwrap();
        let queues: Vec<&str> = processed
            .subscriptions
            .iter()
            .map(|subscription| subscription.queue.as_str())
            .collect();
        assert_eq!(queues, ["panther-rules-engine-queue"]);
    }

    #[test]
    fn the_run_book_in_the_docs_is_what_the_components_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == crate::catalogue::markdown(catalogue()),
            "docs/runbook.md is old: cargo run -p panther-actors --example runbook > docs/runbook.md"
        );
    }
}
