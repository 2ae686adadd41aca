//! The operator's and the detection engineer's tool.

fn main() {}
