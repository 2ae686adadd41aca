//! Random histories: the state machine is compared with a naive model of its design, and with itself in other
//! batchings.
//!
//! * [`steps`]: the steps of a history
//! * [`naive`]: the model
//! * [`structure`]: invariants of the stored keys
//! * [`world`]: executes steps, and compares machine and model
//! * [`replicas`]: the same commands on several machines, through restarts, snapshots and crashes

mod naive;
mod replicas;
mod steps;
mod structure;
mod world;

use proptest::prelude::*;

/// Few cases by default, so that the suite is fast. `PROPTEST_CASES` sets another number.
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
