//! The daemon: configuration, wiring, listeners.

fn main() {}
