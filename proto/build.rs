//! Generates Rust from the .proto files with protox, so that no `protoc` is needed.

use std::error::Error;

const FILES: &[&str] = &[
    "proto/panther/v1/state.proto",
    "proto/panther/v1/api.proto",
    "proto/panther/v1/peers.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Hash order must never reach the log: maps are ordered.
        .btree_map(".")
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
