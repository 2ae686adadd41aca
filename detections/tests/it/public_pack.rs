//! With `PANTHER_PACK=<panther-analysis folder>` (and `PANTHER_PYTHON=<interpreter with the packages that it imports>`): the public pack.

use std::path::Path;
use std::time::Instant;

use panther_detections::engine::EngineSettings;
use panther_detections::pack::Pack;
use panther_detections::testing::{self, Options};

#[tokio::test(flavor = "multi_thread")]
async fn the_public_packs_tests_pass() {
    let Some(folder) = std::env::var_os("PANTHER_PACK") else {
        return;
    };
    let begun = Instant::now();
    let pack = Pack::read(Path::new(&folder)).unwrap();
    let read = begun.elapsed();
    let settings = EngineSettings {
        python: std::env::var_os("PANTHER_PYTHON")
            .unwrap_or_else(|| "python3".into())
            .into(),
        ..EngineSettings::default()
    };
    let report = testing::run(
        &pack,
        settings,
        &Options::default(),
        std::time::SystemTime::now(),
    )
    .await
    .unwrap();
    let text = report.to_string();
    let summary = report.summary();
    println!("{}", &text[text.find("--------").unwrap_or(0)..]);
    println!(
        "read in {read:?}, all in {:?}, {summary:?}",
        begun.elapsed()
    );
    assert_eq!(summary.tests_failed, 0);
}
