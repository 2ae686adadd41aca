//! The binary as people and scripts meet it: against a node that answers what a test wrote down, and without any node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;
mod answers;
mod backup;
mod dangerous;
mod empty;
mod node;
mod refused;
mod upload;
