use std::time::Duration;

use super::*;

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        host: "node-1".to_owned(),
        file: PathBuf::from("/nonexistent/pantherd.toml"),
    }
}

/// What systemd gives a unit like ours.
fn under_systemd() -> Surroundings {
    surroundings(&[
        ("STATE_DIRECTORY", "/var/lib/panther"),
        ("RUNTIME_DIRECTORY", "/run/panther"),
        ("CONFIGURATION_DIRECTORY", "/etc/panther"),
    ])
}

fn file(text: &str) -> (tempfile::NamedTempFile, Flags) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let flags = Flags {
        config: Some(file.path().to_owned()),
        ..Flags::default()
    };
    (file, flags)
}

fn faults(text: &str, surroundings: &Surroundings) -> Vec<(String, String)> {
    let (_file, flags) = file(text);
    let faults = read(&flags, surroundings).unwrap_err();
    faults
        .0
        .into_iter()
        .map(|fault| (fault.key, fault.what))
        .collect()
}

#[test]
fn with_nothing_given_a_node_can_start() {
    let (configuration, _) =
        read(&Flags::default(), &surroundings(&[("HOME", "/home/ann")])).unwrap();
    assert_eq!(
        configuration.paths.data_dir,
        Path::new("/home/ann/.local/share/panther")
    );
    assert_eq!(
        configuration.paths.socket,
        Path::new("/home/ann/.local/share/panther/pantherd.sock")
    );
    assert_eq!(
        configuration.objects,
        Place::Folder("/home/ann/.local/share/panther/objects".into())
    );
    assert_eq!(configuration.paths.identity, None);
    assert_eq!(
        configuration.listen.ingest,
        Some("127.0.0.1:8686".parse().unwrap())
    );
    assert_eq!(configuration.log.format, LogFormat::Text);
}

#[test]
fn systemd_and_xdg_say_where_things_go() {
    let (configuration, _) = read(&Flags::default(), &under_systemd()).unwrap();
    assert_eq!(configuration.paths.data_dir, Path::new("/var/lib/panther"));
    assert_eq!(
        configuration.paths.socket,
        Path::new("/run/panther/pantherd.sock")
    );
    assert_eq!(
        configuration.paths.identity,
        Some(PathBuf::from("/etc/panther/identity"))
    );
    let places = surroundings(&[
        ("XDG_DATA_HOME", "/data"),
        ("HOME", "/home/ann"),
        ("JOURNAL_STREAM", "8:1"),
    ]);
    let (configuration, _) = read(&Flags::default(), &places).unwrap();
    assert_eq!(configuration.paths.data_dir, Path::new("/data/panther"));
    assert_eq!(configuration.log.format, LogFormat::Json);
}

#[test]
fn a_later_layer_wins_and_is_named_as_the_origin() {
    let (_file, mut flags) =
        file("[ingest]\nbatch_ms = 5\nbatch_bytes = 2000\n[log]\nlevel = \"warn\"");
    flags.log_level = Some("debug".to_owned());
    let mut surroundings = under_systemd();
    surroundings
        .variables
        .insert("PANTHER__INGEST__BATCH_MS".to_owned(), "7".to_owned());
    let (configuration, effective) = read(&flags, &surroundings).unwrap();
    assert_eq!(configuration.ingest.batch_bytes, 2_000);
    assert_eq!(configuration.ingest.batch_ms, Duration::from_millis(7));
    assert_eq!(configuration.log.level, "debug");
    let shown = effective.to_string();
    let line = |key: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap()
            .to_owned()
    };
    assert!(
        line("batch_ms").ends_with("environment PANTHER__INGEST__BATCH_MS"),
        "{shown}"
    );
    assert!(
        line("batch_bytes").contains(flags.config.unwrap().to_str().unwrap()),
        "{shown}"
    );
    assert!(line("level").ends_with("# flag"), "{shown}");
    assert!(line("format").ends_with("# default"), "{shown}");
}

#[test]
fn what_is_shown_is_a_configuration_that_says_the_same() {
    let (configuration, effective) = read(&Flags::default(), &under_systemd()).unwrap();
    let (_file, flags) = file(&effective.to_string());
    assert_eq!(read(&flags, &surroundings(&[])).unwrap().0, configuration);
}

#[test]
fn all_faults_are_told_at_once_each_with_its_key() {
    let found = faults(
        "data_dirr = \"/x\"\n[listen]\ningest = \"nowhere\"\ngrpc = \"127.0.0.1:1\"\n[ingest]\nbatch_ms = \"soon\"\nbatch_bytes = 0\n[objects]\nurl = \"ftp://bucket\"\nendpoint = \"garage\"\n\
         [python]\npackages = [\"--index-url=x\"]\n[engine]\nmemory_mb = true\n[log]\nlevel = \"loud\"\nformat = \"xml\"\n[alarm]\ncommand = \"/no/such/program x\"\n[colour]\nred = 1",
        &under_systemd(),
    );
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "listen.ingest",
            "listen.grpc",
            "ingest.batch_bytes",
            "ingest.batch_ms",
            "objects.url",
            "objects.endpoint",
            "python.packages",
            "engine.memory_mb",
            "log.level",
            "log.format",
            "alarm.command",
            "colour.red",
            "data_dirr",
        ]
    );
    let of = |key: &str| &found.iter().find(|(found, _)| found == key).unwrap().1;
    assert!(of("data_dirr").contains("data_dir is near"));
    assert!(of("listen.grpc").contains("certificates"));
    assert!(of("ingest.batch_bytes").contains("from 1000 to"));
}

#[test]
fn a_slip_in_the_environment_is_found_as_well() {
    let mut surroundings = under_systemd();
    surroundings
        .variables
        .insert("PANTHER__LISTEN__INGESTT".to_owned(), String::new());
    let error = read(&Flags::default(), &surroundings)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("PANTHER__LISTEN__INGESTT") && error.contains("listen.ingest is near"),
        "{error}"
    );
}

#[test]
fn a_variable_with_one_underscore_too_few_is_a_fault() {
    for (name, is_slip) in [
        ("PANTHER_LISTEN__INGEST", true),
        ("PANTHER_LISTEN_INGEST", true),
        ("PANTHER_DATA_DIR", true),
        ("PANTHER_SOCKET", false),
        ("PANTHER_PACK", false),
    ] {
        let mut surroundings = under_systemd();
        let variables = &mut surroundings.variables;
        variables.insert(name.to_owned(), "/x".to_owned());
        let read = read(&Flags::default(), &surroundings);
        assert_eq!(read.is_err(), is_slip, "{name}");
        if let Err(faults) = read {
            let faults = faults.to_string();
            assert!(faults.contains("is set by PANTHER__"), "{faults}");
        }
    }
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_a_fault_among_the_others() {
    let mut surroundings = under_systemd();
    surroundings
        .variables
        .insert("PANTHER__LOG__LEVEL".to_owned(), "loud".to_owned());
    let found = faults("data_dir = [", &surroundings);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].1.contains("no TOML"), "{found:?}");
    let flags = Flags {
        config: Some("/nonexistent/x.toml".into()),
        ..Flags::default()
    };
    assert_eq!(read(&flags, &under_systemd()).unwrap_err().0.len(), 1);
}

#[test]
fn without_any_place_for_data_the_key_to_set_is_named() {
    let error = read(&Flags::default(), &surroundings(&[]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("set data_dir"), "{error}");
}

#[test]
fn a_socket_path_that_the_kernel_would_cut_is_refused() {
    let home = format!("/{}", "h".repeat(100));
    let error = read(&Flags::default(), &surroundings(&[("HOME", &home)])).unwrap_err();
    assert!(
        error.to_string().contains("set socket to a shorter one"),
        "{error}"
    );
}

#[test]
fn secrets_are_not_shown() {
    let (_file, flags) = file(
        "[alarm]\ncommand = [\"page\", \"--api-key=abc\", \"--token\", \"def\", \"--team\", \"x\"]",
    );
    let (configuration, effective) = read(&flags, &under_systemd()).unwrap();
    assert_eq!(configuration.alarm.command[3], "def");
    assert_eq!(
        effective.get("alarm.command"),
        Some("[\"page\", \"--api-key=***\", \"--token\", \"***\", \"--team\", \"x\"]")
    );
}

const SAMPLE: &str = include_str!("../../../deploy/pantherd.toml");

#[test]
fn the_sample_changes_nothing_as_it_is() {
    let (_file, flags) = file(SAMPLE);
    let (as_it_is, _) = read(&flags, &under_systemd()).unwrap();
    assert_eq!(
        as_it_is,
        read(&Flags::default(), &under_systemd()).unwrap().0
    );
}

#[test]
fn the_shipped_sample_is_what_the_sections_say() {
    assert!(
        SAMPLE == sample(),
        "deploy/pantherd.toml is old: cargo run -p pantherd -- config sample > deploy/pantherd.toml"
    );
}

#[test]
fn the_sample_written_out_is_the_default() {
    let out: Vec<&str> = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key,
            _ => line,
        })
        .collect();
    let (_file, flags) = file(&out.join("\n"));
    let (written_out, effective) = read(&flags, &under_systemd()).unwrap();
    let defaults = read(&Flags::default(), &under_systemd()).unwrap().0;
    assert_eq!(written_out, defaults);
    assert!(!effective.to_string().contains("# default"), "{effective}");
}
