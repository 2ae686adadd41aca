//! Lists the built-in schemas: each file in `schemas/` is one log type.

#![allow(clippy::unwrap_used, reason = "a build that fails says why")]

use std::fmt::Write;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=schemas");
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("schemas");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yml"))
        .collect();
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        writeln!(list, "    include_str!({file:?}),").unwrap();
    }
    list.push(']');
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    std::fs::write(out.join("schemas.rs"), list).unwrap();
}
