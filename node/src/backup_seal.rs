//! The seal of a backup: with a key that is derived from the sealing key, so that a forged backup is found at a restore. The hash beside the state finds damage only,
//! since a forger can write that sum too.

use data_encoding::HEXLOWER;
use panther_actors::sealing::{SealError, Sealer};
use panther_proto::v1::BackupAbout;

/// All that a backup says of itself, in one way only.
fn said(about: &BackupAbout) -> String {
    let BackupAbout {
        cluster,
        node,
        version,
        format,
        term,
        index,
        items,
        bytes,
        sha256,
        time_ms,
        sealing_key,
        seal: _,
    } = about;
    format!(
        "backup {cluster:?} {node} {version:?} {format} {term} {index} {items} {bytes} {sha256:?} {time_ms} {sealing_key:?}"
    )
}

fn sealer(sealing_key: &[u8; 32]) -> Sealer {
    Sealer::new(&Sealer::new(sealing_key).derive("seal of backups", ""))
}

/// The seal.
pub(crate) fn seal(sealing_key: &[u8; 32], about: &BackupAbout) -> Result<String, SealError> {
    let sealed = sealer(sealing_key).seal(&said(about), &[])?;
    Ok(HEXLOWER.encode(&sealed))
}

/// Whether the seal is that of the cluster, over just this.
pub(crate) fn holds(sealing_key: &[u8; 32], about: &BackupAbout) -> bool {
    let sealed = HEXLOWER.decode(about.seal.as_bytes());
    sealed.is_ok_and(|sealed| sealer(sealing_key).open(&said(about), &sealed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> BackupAbout {
        BackupAbout {
            cluster: "c".into(),
            node: 1,
            version: "1".into(),
            format: 2,
            term: 3,
            index: 4,
            items: 5,
            bytes: 6,
            sha256: "abc".into(),
            time_ms: 7,
            sealing_key: "k".into(),
            seal: String::new(),
        }
    }

    #[test]
    fn a_seal_holds_for_what_was_sealed_and_for_nothing_else() {
        let key = [1; 32];
        let mut sealed = about();
        sealed.seal = seal(&key, &sealed).unwrap();
        assert!(holds(&key, &sealed));
        assert!(!holds(&[2; 32], &sealed), "another key");
        let forged: [fn(&mut BackupAbout); 6] = [
            |about| about.sha256 = "abd".into(),
            |about| about.bytes = 60,
            |about| about.cluster = "d".into(),
            |about| about.time_ms = 8,
            |about| about.seal = about.seal.replace('a', "b"),
            |about| about.seal = "zz".into(),
        ];
        for (number, change) in forged.into_iter().enumerate() {
            let mut other = sealed.clone();
            change(&mut other);
            assert!(other == sealed || !holds(&key, &other), "{number}");
        }
        sealed.seal = String::new();
        assert!(!holds(&key, &sealed));
    }
}
