//! Runs 64 seeds, and checks that a seed is reproducible. `make simulate SEEDS=n` runs more of them, for longer.

use std::process::Command;

/// Number of seeds in one test: the tests run in parallel.
const SHARE: u64 = 8;

fn simulate(words: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_simulate"))
        .args(["--seconds", "12"])
        .args(words)
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    (
        done.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn all_promises_hold(share: u64) {
    let (from, seeds) = ((share * SHARE).to_string(), SHARE.to_string());
    let (held, said) = simulate(&["--jobs", "1", "--from", &from, "--seeds", &seeds]);
    assert!(held, "{said}");
}

macro_rules! shares {
    ($($name:ident: $share:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            all_promises_hold($share);
        }
    )*};
}

shares! {
    seeds_from_0: 0,
    seeds_from_8: 1,
    seeds_from_16: 2,
    seeds_from_24: 3,
    seeds_from_32: 4,
    seeds_from_40: 5,
    seeds_from_48: 6,
    seeds_from_56: 7,
}

#[test]
fn a_seed_repeats() {
    let (_, first) = simulate(&["--seed", "7"]);
    assert!(first.lines().count() > 10, "{first}");
    assert_eq!(simulate(&["--seed", "7"]).1, first);
    assert_ne!(simulate(&["--seed", "8"]).1, first);
}
