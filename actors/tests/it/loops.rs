//! Background loops are supervised: one that panics and one that hangs are started again, and raise an alarm.

use panther_actors::life::Disturbance;
use panther_actors::supervision::RunState;
use serde_json::json;

use crate::support::World;

/// Disturbs every loop, then waits until each runs again and has raised an alarm that names the cause.
async fn disturb_all(world: &World, disturbance: Disturbance, cause: &str) {
    let before = world.system.states();
    let loops = before.keys().filter(|identity| identity.ends_with("/loop"));
    let loops: Vec<&String> = loops.collect();
    assert!(loops.len() >= 8, "{loops:?}");
    for identity in &loops {
        world.system.disturb(identity, disturbance).unwrap();
    }
    for identity in loops {
        let (name, _) = identity.split_once('/').unwrap();
        world
            .until(&format!("{identity} runs again"), async || {
                let state = &world.system.states()[identity];
                state.state == RunState::Running && state.restarts > before[identity].restarts
            })
            .await;
        world
            .until(&format!("{identity} raises an alarm"), async || {
                let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
                let alarms = alarms["alarms"].as_array().unwrap().iter();
                alarms
                    .filter(|alarm| alarm["component"] == name)
                    .any(|alarm| alarm["reason"].as_str().unwrap().contains(cause))
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_loop_that_panics_is_started_again_with_an_alarm() {
    let world = World::start_paused().await;
    disturb_all(&world, Disturbance::Panic, "a drill asked for a panic").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_loop_that_hangs_is_started_again_with_an_alarm() {
    let world = World::start_paused().await;
    disturb_all(&world, Disturbance::Hang, "no progress").await;
    world.stop().await;
}
