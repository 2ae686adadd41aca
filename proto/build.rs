//! Generates Rust from the .proto files with protox, so that no `protoc` is needed.

use std::error::Error;
use std::fmt::Write as _;

const FILES: &[&str] = &[
    "proto/panther/v1/state.proto",
    "proto/panther/v1/api.proto",
    "proto/panther/v1/peers.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let mut methods = String::from("&[\n");
    for service in descriptors.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            writeln!(methods, "    ({:?}, {:?}),", service.name(), method.name())?;
        }
    }
    methods.push(']');
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(format!("{out}/methods.rs"), methods)?;
    tonic_prost_build::configure()
        // Hash order must never reach the log: maps are ordered.
        .btree_map(".")
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
