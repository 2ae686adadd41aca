//! Random histories: the state machine beside a naive model of what its design says, and beside itself, cut otherwise.
//!
//! * [`steps`]: what a history is made of
//! * [`naive`]: the model
//! * [`structure`]: what holds of the stored keys at any time
//! * [`world`]: takes steps, compares machine and model
//! * [`replicas`]: the same commands on several machines, through restarts, snapshots and crashes

mod naive;
mod replicas;
mod steps;
mod structure;
mod world;

use proptest::prelude::*;

/// Few cases by default, so that the suite stays quick; `PROPTEST_CASES` asks for more.
fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(default),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn the_state_machine_does_what_a_naive_model_does(history in prop::collection::vec(steps::step(), 1..90)) {
        let mut world = world::World::new();
        for step in &history {
            world.take(step);
        }
    }
}
