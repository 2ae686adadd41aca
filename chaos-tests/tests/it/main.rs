//! Short versions of the runs of `chaos`. Each prints the seed that reproduces it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod buckets;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Once;

use panther_chaos_tests::crash_loop::{self, Settings};
use panther_chaos_tests::node::Binaries;
use panther_chaos_tests::three_nodes::{self, Fault};
use panther_chaos_tests::{
    Failure, full_disk, lineage, power_cut, samples, slow_disk, wrong_clock,
};
use serde_json::Value;

/// The same seed in every test run, so that a failure is reproducible; `chaos` uses random seeds.
const SEED: u64 = 20_260_305;

/// Builds the daemon and the admin tool next to this test if they are missing.
fn built() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if Binaries::find().is_ok() {
            return;
        }
        let own = std::env::current_exe().unwrap();
        let folder = own.parent().unwrap().parent().unwrap();
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--profile",
                profile,
                "-p",
                "pantherd",
                "-p",
                "pantherctl",
                "--target-dir",
            ])
            .arg(folder.parent().unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "pantherd and pantherctl do not build");
    });
}

/// The result, or `None` with a printed note if this machine cannot create the fault.
fn known<T>(result: Result<T, Failure>) -> Option<T> {
    match result {
        Err(failure @ Failure::CannotRun(_)) => {
            eprintln!("{failure}");
            None
        }
        result => Some(fine(result)),
    }
}

/// The result. The failure is printed first and repeated at the end, because the node logs between may be truncated.
fn fine<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| {
        let words = failure.to_string();
        let cause = words.lines().next().unwrap_or_default();
        panic!("{words}\nfailed: {cause}")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_change_nothing_in_what_comes_out() {
    built();
    let report = fine(crash_loop::run(&Settings::on_samples(SEED)).await);
    println!("{report}");
    assert!(
        report.differences.is_empty(),
        "seed {SEED}: {:#?}",
        report.differences
    );
    // Two runs with the same defect would be equal, so the result is also compared with the table of the samples.
    let expected: Value =
        serde_json::from_slice(&std::fs::read(samples().join("expected.json")).unwrap()).unwrap();
    let of = |name: &str| -> BTreeMap<String, u64> {
        let rules = expected["rules"].as_object().unwrap().iter();
        rules
            .map(|(rule, of)| (rule.clone(), of[name].as_u64().unwrap()))
            .filter(|(_, count)| *count > 0)
            .collect()
    };
    assert_eq!(report.disturbed.matches, of("matches"));
    assert_eq!(report.disturbed.alerts_by_rule(), of("alerts"));
    assert!(report.disturbed.posts >= expected["total"]["alerts"].as_u64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_nothing_that_was_acknowledged() {
    built();
    let settings = power_cut::Settings {
        seed: SEED,
        rounds: 2,
        limit: std::time::Duration::from_secs(60),
    };
    if let Some(report) = known(power_cut::run(&settings).await) {
        println!("{report}");
        assert!(report.bodies > 0 && report.messages > 0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_and_double_nothing_when_one_is_killed_held_still_or_stopped() {
    built();
    let settings = three_nodes::Settings {
        seed: SEED,
        first: vec![
            Fault::KillLeader,
            Fault::HandOver,
            Fault::HoldFollower,
            Fault::Restart,
        ],
        drawn: std::time::Duration::ZERO,
        kinds: Vec::new(),
        wires: false,
        disks: false,
    };
    let report = fine(three_nodes::run(&settings).await);
    println!("{report}");
    assert!(
        report.account.acknowledged.iter().all(|count| *count > 0),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_and_a_clock_that_is_wrong_change_nothing() {
    built();
    let settings = three_nodes::Settings {
        seed: SEED,
        first: vec![Fault::CutLeader, Fault::SetClock],
        drawn: std::time::Duration::ZERO,
        kinds: Vec::new(),
        wires: true,
        disks: false,
    };
    if let Some(report) = known(three_nodes::run(&settings).await) {
        println!("{report}");
        assert!(
            report.account.acknowledged.iter().all(|count| *count > 0),
            "{report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_one_that_stands_still_a_power_cut_and_an_empty_disk_change_nothing() {
    built();
    let settings = three_nodes::Settings {
        seed: SEED,
        first: vec![
            Fault::CutPower,
            Fault::FillDisk,
            Fault::FreezeDisk,
            Fault::Replace,
        ],
        drawn: std::time::Duration::ZERO,
        kinds: Vec::new(),
        wires: false,
        disks: true,
    };
    if let Some(report) = known(three_nodes::run(&settings).await) {
        println!("{report}");
        assert!(
            report.account.acknowledged.iter().all(|count| *count > 0),
            "{report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_majority_one_goes_on_and_a_backup_becomes_a_cluster() {
    built();
    fine(lineage::run().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_door_to_the_destination_through_failures_and_a_change_of_leader() {
    built();
    fine(panther_chaos_tests::trace::run().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_wrong_clock_expires_nothing_and_there_is_a_way_back() {
    built();
    known(wrong_clock::run().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_stands_still_lets_another_lead() {
    built();
    if let Some(report) = known(slow_disk::run().await) {
        println!("{report}");
        assert!(report.writes > 0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_and_takes_nothing_that_was_acknowledged() {
    built();
    if let Some(report) = known(full_disk::run().await) {
        println!("{report}");
        assert!(report.refused > 0, "{report}");
    }
}
