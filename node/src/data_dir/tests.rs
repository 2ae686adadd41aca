//! What a data folder is taken for, and what is refused.

use super::*;
use crate::config::{self, Flags, Surroundings};

fn configuration(folder: &Path) -> Configuration {
    let variables = [
        ("STATE_DIRECTORY", folder.join("data")),
        ("CONFIGURATION_DIRECTORY", folder.to_owned()),
    ];
    let surroundings = Surroundings {
        variables: variables
            .into_iter()
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .collect(),
        ..Surroundings::default()
    };
    config::read(&Flags::default(), &surroundings).unwrap().0
}

#[test]
fn a_node_whose_data_are_gone_starts_no_new_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configuration(folder.path());
    let first = DataDir::open(&configuration).unwrap();
    std::fs::create_dir(first.group()).unwrap();
    std::fs::write(first.group().join("log"), "x").unwrap();
    first.note_started();
    let cluster = first.cluster().to_owned();
    drop(first);
    let again = DataDir::open(&configuration).unwrap();
    assert_eq!(again.cluster(), cluster);
    drop(again);
    std::fs::remove_dir_all(&configuration.paths.data_dir).unwrap();
    let refused = DataDir::open(&configuration).err().unwrap();
    assert!(matches!(refused, Failure::Configuration(_)));
    assert!(refused.to_string().contains(&cluster), "{refused}");
    std::fs::remove_file(folder.path().join("identity")).unwrap();
    assert_ne!(DataDir::open(&configuration).unwrap().cluster(), cluster);
}

#[test]
fn a_node_that_begins_anew_is_of_another_cluster_and_both_identities_agree_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configuration(folder.path());
    let mut data = DataDir::open(&configuration).unwrap();
    std::fs::create_dir(data.group()).unwrap();
    std::fs::write(data.group().join("log"), "x").unwrap();
    data.note_started();
    let old = data.cluster().to_owned();
    data.begin_anew("new").unwrap();
    drop(data);
    let outside = folder.path().join("identity");
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "");
    let data = DataDir::open(&configuration).unwrap();
    assert_eq!((data.cluster(), data.node()), ("new", FIRST));
    assert_eq!((data.came_from(), data.started()), (Some(&*old), false));
    data.note_started();
    drop(data);
    let known = Identity::read(&outside).unwrap().unwrap();
    assert_eq!(known.cluster, "new");
    assert!(DataDir::open(&configuration).unwrap().started());
}

#[test]
fn an_identity_that_is_gone_beside_data_begins_no_cluster() {
    for content in [None, Some("")] {
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(folder.path());
        let data = DataDir::open(&configuration).unwrap();
        std::fs::create_dir(data.group()).unwrap();
        std::fs::write(data.group().join("log"), "x").unwrap();
        let (inside, cluster) = (data.folder().join("identity"), data.cluster().to_owned());
        data.note_started();
        drop(data);
        let harm = || match content {
            None => std::fs::remove_file(&inside).unwrap(),
            Some(text) => std::fs::write(&inside, text).unwrap(),
        };
        harm();
        // The one outside says it.
        let data = DataDir::open(&configuration).unwrap();
        assert_eq!((data.cluster(), data.started()), (&*cluster, true));
        drop(data);
        assert!(std::fs::read_to_string(&inside).unwrap().contains(&cluster));
        harm();
        std::fs::remove_file(folder.path().join("identity")).unwrap();
        let refused = DataDir::open(&configuration).err().unwrap();
        assert!(matches!(refused, Failure::Configuration(_)), "{refused}");
        assert!(
            refused.to_string().contains("missing or empty"),
            "{refused}"
        );
    }
}

#[test]
fn a_folder_that_cannot_be_read_is_not_called_empty() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configuration(folder.path());
    let data = DataDir::open(&configuration).unwrap();
    data.note_started();
    // No folder, and not gone either.
    std::fs::write(data.group(), "x").unwrap();
    drop(data);
    let refused = DataDir::open(&configuration).err().unwrap().to_string();
    assert!(refused.contains("cannot be read"), "{refused}");
    assert!(!refused.contains("empty data_dir"), "{refused}");
}

#[test]
fn keys_are_made_once_and_a_lost_authority_is_not_replaced_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configuration(folder.path());
    let data = DataDir::open(&configuration).unwrap();
    std::fs::create_dir(data.group()).unwrap();
    std::fs::write(data.group().join("log"), "x").unwrap();
    data.note_started(); // alone at first: keys are made when others may come
    let made = data.keys().unwrap();
    drop(data);
    let data = DataDir::open(&configuration).unwrap();
    assert_eq!(data.keys().unwrap().authority.key(), made.authority.key());
    assert!(data.started());
    std::fs::remove_dir_all(data.folder().join("keys")).unwrap();
    drop(data);
    let data = DataDir::open(&configuration).unwrap();
    let refused = data.keys().err().unwrap();
    assert!(matches!(refused, Failure::Configuration(_)), "{refused}");
    assert!(!data.folder().join("keys").exists());
}

#[test]
fn data_of_another_cluster_are_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &other] {
        let data = DataDir::open(&configuration(folder.path())).unwrap();
        std::fs::create_dir(data.group()).unwrap();
        std::fs::write(data.group().join("log"), "x").unwrap();
        data.note_started();
    }
    std::fs::copy(other.path().join("identity"), one.path().join("identity")).unwrap();
    let refused = DataDir::open(&configuration(one.path())).err().unwrap();
    assert!(
        refused.to_string().contains("not this machine's data"),
        "{refused}"
    );
}

#[test]
fn one_daemon_holds_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configuration(folder.path());
    let first = DataDir::open(&configuration).unwrap();
    let refused = DataDir::open(&configuration).err().unwrap();
    assert!(
        refused.to_string().contains("another pantherd"),
        "{refused}"
    );
    drop(first);
    DataDir::open(&configuration).unwrap();
}

#[test]
fn the_sealing_key_is_made_once_for_its_owner_alone_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(&configuration(folder.path())).unwrap();
    let key = data.sealing_key().unwrap();
    assert_eq!(data.sealing_key().unwrap(), key);
    let path = data.folder().join("sealing.key");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, "short").unwrap();
    assert!(
        data.sealing_key()
            .unwrap_err()
            .to_string()
            .contains("5 bytes")
    );
    std::fs::create_dir(data.group()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(data.sealing_key(), Err(Failure::Configuration(_))));
}

#[test]
fn a_sealing_key_other_than_the_one_that_was_used_is_refused_until_an_operator_makes_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = configuration(folder.path());
    let mut data = DataDir::open(&configuration).unwrap();
    let key = data.sealing_key().unwrap();
    std::fs::create_dir(data.group()).unwrap();
    std::fs::write(data.group().join("log"), "").unwrap();
    data.note_started();
    data.note_sealing_key(&key);
    drop(data);
    data = DataDir::open(&configuration).unwrap();
    assert_eq!(data.sealing_key().unwrap(), key);
    let path = data.folder().join("sealing.key");
    let mut flipped = key;
    flipped[7] ^= 1;
    std::fs::write(&path, flipped).unwrap();
    let refused = data.sealing_key().unwrap_err();
    assert!(matches!(refused, Failure::Configuration(_)), "{refused}");
    assert!(refused.to_string().contains("new-sealing-key"), "{refused}");
    data.new_sealing_key().unwrap();
    assert!(data.replaces_sealing_key());
    drop(data);
    data = DataDir::open(&configuration).unwrap();
    let new = data.sealing_key().unwrap();
    assert!(new != key && new != flipped);
    let old = data.folder().join("sealing.key.old-1");
    assert_eq!(std::fs::read(old).unwrap(), flipped, "nothing is removed");
    data.note_sealing_key(&new);
    drop(data);
    assert!(
        !DataDir::open(&configuration)
            .unwrap()
            .replaces_sealing_key()
    );
}
