//! Versions of the live pack: a row for each one that became live, with its content as an object. The newest [`KEPT`] are kept.

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{DoorError, TableReader};
use panther_cluster::state::read::Query;
use panther_detections::pack::{Pack, Sources};
use panther_proto::v1::{Row, RowChange};
use serde::{Deserialize, Serialize};

use super::super::objects;
use super::TABLE;

/// How many versions are kept, the live one among them.
pub const KEPT: usize = 50;
/// Keys of version rows begin with it.
const PREFIX: &str = "@version/";

/// A version that became live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Counted from 1, one more for each pack that became live.
    pub number: u64,
    /// The pack's version: the hash of its content.
    pub version: String,
    /// The object that holds it.
    pub object: String,
    /// When it became live, RFC 3339.
    pub time: String,
    /// Who made it live.
    pub user: String,
    /// How: `upload`, `upload --add`, `rollback to 3`; with ` --force` if it was refused without.
    pub action: String,
    /// Its detections.
    pub detections: u64,
    /// Items that the version before did not have.
    pub new: u64,
    /// Items that differ from the version before.
    pub changed: u64,
    /// Items of the version before that it does not have.
    pub deleted: u64,
}

impl Version {
    fn of(number: u64, row: &Row) -> Option<Self> {
        let text = |name: &str| row.text(name).unwrap_or_default().to_owned();
        let count = |name: &str| {
            let count = row.int(name).and_then(|count| u64::try_from(count).ok());
            count.unwrap_or(0)
        };
        Some(Self {
            number,
            version: row.text("version")?.to_owned(),
            object: row.text("object")?.to_owned(),
            time: text("time"),
            user: text("user"),
            action: text("action"),
            detections: count("detections"),
            new: count("new"),
            changed: count("changed"),
            deleted: count("deleted"),
        })
    }

    /// Its row, which must not be there yet.
    #[must_use]
    pub fn row(&self) -> RowChange {
        Change::update(TABLE, change::key(key(self.number)))
            .if_absent("version")
            .set("version", &self.version)
            .set("object", &self.object)
            .set("time", &self.time)
            .set("user", &self.user)
            .set("action", &self.action)
            .set("detections", self.detections)
            .set("new", self.new)
            .set("changed", self.changed)
            .set("deleted", self.deleted)
            .done()
    }
}

/// Ten digits, so that keys sort as numbers do.
fn key(number: u64) -> String {
    format!("{PREFIX}{number:010}")
}

/// All versions that are kept, the oldest first.
///
/// # Errors
/// There is no leader.
pub async fn all(tables: &TableReader) -> Result<Vec<Version>, DoorError> {
    let rows = tables
        .query_all(Query {
            table: TABLE.to_owned(),
            ..Query::default()
        })
        .await?;
    let mut versions: Vec<Version> = rows
        .iter()
        .filter_map(|(key, row)| Version::of(key.hash.strip_prefix(PREFIX)?.parse().ok()?, row))
        .collect();
    versions.sort_by_key(|version| version.number);
    Ok(versions)
}

/// The version that a user names: by its number, or by the beginning of its hash (the newest of these).
#[must_use]
pub fn named<'v>(versions: &'v [Version], name: &str) -> Option<&'v Version> {
    let by_number = name.parse::<u64>().ok();
    versions
        .iter()
        .find(|version| Some(version.number) == by_number)
        .or_else(|| {
            let mut newest_first = versions.iter().rev();
            newest_first.find(|version| name.len() >= 6 && version.version.starts_with(name))
        })
}

/// The changes that remove versions beyond [`KEPT`], once `next` is among `versions`. Their objects lose their rows and are swept, unless a
/// kept version has the same.
#[must_use]
pub fn expired(versions: &[Version], next: &Version) -> Vec<RowChange> {
    let beyond = (versions.len() + 1).saturating_sub(KEPT);
    let (old, kept) = versions.split_at(beyond.min(versions.len()));
    let still_used =
        |object: &str| next.object == object || kept.iter().any(|version| version.object == object);
    let mut changes = Vec::new();
    let mut gone: Vec<&str> = Vec::new();
    for version in old {
        changes.push(Change::delete(TABLE, change::key(key(version.number))).done());
        let object = version.object.as_str();
        if !still_used(object) && !gone.contains(&object) {
            gone.push(object);
            changes.push(Change::delete(objects::TABLE, change::key(object)).done());
        }
    }
    changes
}

/// What the object of a version holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The pack as the engine takes it.
    pub pack: Pack,
    /// The files that it was written in.
    pub files: Sources,
}

impl Stored {
    /// As an object: packed, by a name that comes from its content.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn encode(&self) -> std::io::Result<(objects::Written, bytes::Bytes)> {
        let text = serde_json::to_vec(self)?;
        let hash = objects::Written::of(String::new(), &text).hash;
        let content = objects::pack(&text)?;
        let name = format!("packs/{}-{}.json.gz", self.pack.version, &hash[..16]);
        Ok((objects::Written::of(name, &content), content))
    }

    /// From the bytes of an object. An object of before versions were kept holds the pack alone.
    ///
    /// # Errors
    /// Why they are not a pack.
    pub fn decode(content: &[u8]) -> Result<Self, String> {
        let text = objects::unpack(content).map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).or_else(|error| {
            let alone: Pack = serde_json::from_slice(&text).map_err(|_| error.to_string())?;
            Ok(Self {
                pack: alone,
                files: Sources::default(),
            })
        })
    }

    /// Whether the files are not known that the pack was written in.
    #[must_use]
    pub fn lacks_files(&self) -> bool {
        let Pack {
            detections,
            globals,
            data_models,
            packs,
            unevaluated,
            ..
        } = &self.pack;
        let is_empty = detections.is_empty()
            && globals.is_empty()
            && data_models.is_empty()
            && packs.is_empty()
            && unevaluated.is_empty();
        !is_empty && self.files.texts().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64, object: &str) -> Version {
        Version {
            number,
            version: format!("{number:06}abc"),
            object: object.to_owned(),
            time: String::new(),
            user: String::new(),
            action: "upload".to_owned(),
            detections: 1,
            new: 0,
            changed: 0,
            deleted: 0,
        }
    }

    #[test]
    fn a_version_is_named_by_number_or_by_the_beginning_of_its_hash() {
        let versions = [version(1, "a"), version(2, "b")];
        let number = |name: &str| named(&versions, name).map(|found| found.number);
        assert_eq!(number("2"), Some(2));
        assert_eq!(number("000001a"), Some(1));
        assert_eq!(number("3"), None);
    }

    #[test]
    fn versions_beyond_the_last_fifty_go_and_an_object_in_use_stays() {
        let versions: Vec<Version> = (1..=50)
            .map(|number| version(number, &format!("o{}", number % 49)))
            .collect();
        // The first version's object is that of the fiftieth, too.
        let changes = expired(&versions, &version(51, "new"));
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(expired(&versions[..49], &version(50, "new")).is_empty());
        let apart: Vec<Version> = (1..=50)
            .map(|number| version(number, &format!("o{number}")))
            .collect();
        assert_eq!(expired(&apart, &version(51, "new")).len(), 2);
        // A rollback to the version that expires keeps its object.
        assert_eq!(expired(&apart, &version(51, "o1")).len(), 1);
    }

    #[test]
    fn a_pack_that_was_stored_without_its_files_is_read() {
        let mut pack = Pack {
            version: "0f".to_owned(),
            ..Pack::default()
        };
        pack.globals.push(panther_detections::pack::Global {
            id: "helpers".to_owned(),
            file: "helpers.py".to_owned(),
            description: String::new(),
            text: "a = 1".to_owned(),
        });
        let mut text = serde_json::to_value(&pack).unwrap();
        text.as_object_mut().unwrap().remove("ignored_keys");
        let content = objects::pack(text.to_string().as_bytes()).unwrap();
        let stored = Stored::decode(&content).unwrap();
        assert_eq!(stored.pack, pack);
        assert!(stored.lacks_files());
        assert!(!Stored::default().lacks_files());
        assert!(Stored::decode(&objects::pack(b"{\"pack\": 1}").unwrap()).is_err());
    }

    #[test]
    fn the_name_of_an_object_comes_from_its_content() {
        let one = Stored::default();
        let mut other = one.clone();
        other.pack.ignored_files.push("mkdocs.yml".to_owned());
        let (one, content) = one.encode().unwrap();
        let (other, _) = other.encode().unwrap();
        assert_ne!(one.name, other.name);
        assert_eq!(Stored::decode(&content).unwrap(), Stored::default());
    }
}
