//! The `salvor` binary.

fn main() {}
