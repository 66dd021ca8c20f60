//! The `translator` binary: argv to command to exit code.

fn main() {}
