//! Every file of `detections/python/`, as it is written into a layer's `runtime/` folder.

/// The entry point's path below `runtime/`.
pub(crate) const ENTRY: &str = "runner.py";

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        /// Path below `runtime/`, and text.
        pub(crate) const SOURCES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../python/", $path)))),*];
    };
}

sources![
    "_panther_aws.py",
    "_panther_cell.py",
    "_panther_conditions.py",
    "_panther_detection.py",
    "_panther_errors.py",
    "_panther_explain.py",
    "_panther_filter.py",
    "_panther_landlock.py",
    "_panther_limits.py",
    "_panther_native.py",
    "_panther_pack.py",
    "_panther_seccomp.py",
    "_panther_shared.py",
    "_panther_simple.py",
    "_panther_store.py",
    "_panther_warden.py",
    "_panther_wire.py",
    "_panther_worker.py",
    "panther_core/__init__.py",
    "panther_core/data_model.py",
    "panther_core/enriched_event.py",
    "panther_core/exceptions.py",
    "panther_core/immutable.py",
    "panther_core/json_path.py",
    "panther_detection_helpers/__init__.py",
    "panther_detection_helpers/caching.py",
    "panther_detection_helpers/monitoring.py",
    "runner.py",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    fn python_files(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("__pycache__") {
                python_files(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "py") {
                found.insert(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }

    #[test]
    fn every_python_file_is_carried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let mut found = BTreeSet::new();
        python_files(&root, &root, &mut found);
        let carried: BTreeSet<String> = super::SOURCES
            .iter()
            .map(|(path, _)| (*path).to_owned())
            .collect();
        assert_eq!(carried, found);
        assert!(carried.contains(super::ENTRY));
    }
}
