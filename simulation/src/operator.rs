//! A simulated operator: invites empty machines, removes nodes, sets cluster time back. Each node has one; the leader's
//! acts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::membership::{Gate, Invitation, Look, Members, Standing};
use panther_cluster::net::Admits;
use panther_proto::v1::JoinCall;

use crate::watch::AHEAD_MS;
use crate::world::{Place, Removal, World, elapsed, true_ms};

/// Interval at which the operator checks for work.
const LOOK: Duration = Duration::from_millis(100);
/// Validity of an invitation.
const VALID: Duration = Duration::from_secs(3_600);

/// Runs until the node ends.
pub(crate) async fn run(world: Arc<World>, door: Door, members: Members, gate: Arc<Gate>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !door.group().status().leads {
            continue;
        }
        for place in world.places.values() {
            if place.node.load(Ordering::SeqCst) == 0
                && let Err(error) = invite(&world, &members, &gate, place).await
            {
                world.note(
                    elapsed(),
                    format_args!("n{} is not admitted yet: {error}", place.number),
                );
            }
        }
        world.end_removal();
        let removal = *world.removal.lock();
        if let Some(Removal { node, asked: false }) = removal {
            let asked = members.remove(node).await;
            world.note(elapsed(), format_args!("node {node} is removed: {asked:?}"));
            // An earlier attempt may have succeeded although its answer was lost.
            let look = members.look().await;
            let stands = standing(&look, node);
            if look.blind.is_none()
                && matches!(stands, Some(Standing::Leaving | Standing::Removed))
                && let Some(removal) = &mut *world.removal.lock()
            {
                removal.asked = true;
            }
        }
        give_up_strays(&world, &members).await;
        if world.led_ahead.load(Ordering::SeqCst) && world.clocks_are_right() {
            set_back(&world, &door).await;
        }
    }
}

fn standing(look: &Look, node: u64) -> Option<Standing> {
    let seen = look.nodes.iter().find(|seen| seen.member.node == node);
    seen.map(|seen| seen.member.standing)
}

/// Admits an empty machine as a node.
async fn invite(
    world: &World,
    members: &Members,
    gate: &Gate,
    place: &Place,
) -> Result<(), String> {
    let node = match admitted_before(world, members, place).await {
        Some(node) => node,
        None => {
            let replaces = *place.replaces.lock();
            let look = members.look().await;
            let replaces = replaces.filter(|old| standing(&look, *old) != Some(Standing::Removed));
            let token = members.invite(VALID, replaces).await;
            let token = token.map_err(|error| error.to_string())?;
            let invitation = Invitation::read(&token).map_err(|error| error.to_string())?;
            let call = JoinCall {
                cluster: invitation.cluster,
                secret: invitation.secret.into(),
                name: format!("n{}", place.number),
                address: place.address(),
                version: "simulated".to_owned(),
                format: panther_cluster::state::FORMAT,
            };
            let answer = gate.admit(call).await;
            answer.map_err(|error| error.to_string())?.node
        }
    };
    if place.node.load(Ordering::SeqCst) != 0 {
        return Ok(()); // another node's operator was faster; this id is discarded
    }
    *place.replaces.lock() = None;
    place.node.store(node, Ordering::SeqCst);
    world.note(
        elapsed(),
        format_args!("n{} is admitted as node {node}", place.number),
    );
    Ok(())
}

/// The node id that the machine got from an admission whose answer was lost.
async fn admitted_before(world: &World, members: &Members, place: &Place) -> Option<u64> {
    let look = members.look().await;
    let taken: BTreeSet<u64> = world.used.lock().clone();
    let joins = look.nodes.iter().map(|seen| &seen.member).find(|member| {
        member.standing == Standing::Joining
            && member.address == place.address()
            && !taken.contains(&member.node)
    });
    joins.map(|member| member.node)
}

/// Removes node ids that belong to no machine: two operators can invite the same machine at the same time.
async fn give_up_strays(world: &World, members: &Members) {
    if world
        .places
        .values()
        .any(|place| place.node.load(Ordering::SeqCst) == 0)
    {
        return;
    }
    let look = members.look().await;
    let taken: BTreeSet<u64> = world
        .places
        .values()
        .map(|place| place.node.load(Ordering::SeqCst))
        .collect();
    for seen in look.nodes {
        let member = seen.member;
        if member.standing == Standing::Joining && !taken.contains(&member.node) {
            let given_up = members.remove(member.node).await;
            world.note(
                elapsed(),
                format_args!("node {} was no machine: {given_up:?}", member.node),
            );
        }
    }
}

/// Sets cluster time back after wrong clocks that reported to be synchronised had moved it ahead. The clocks are right
/// again.
async fn set_back(world: &World, door: &Door) {
    let set = door.force_time().await;
    world.note(elapsed(), format_args!("time is set back: {set:?}"));
    let time_ms = door
        .local()
        .read(|store| Ok(panther_cluster::state::read::globals(store)?.clock_ms));
    if let Ok(time_ms) = time_ms.await
        && time_ms <= true_ms(elapsed()) + AHEAD_MS
    {
        world.led_ahead.store(false, Ordering::SeqCst);
    }
}
