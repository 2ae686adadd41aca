//! The Python side of the engine, carried inside the binary.

pub(crate) mod sources;
