//! `cargo xtask codegen`: writes source files that are derived from published definitions.

use crate::Outcome;

/// Refuses: no generated file is known.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    Err(format!(
        "no generator for {arguments:?}: none is defined in xtask/src/codegen.rs"
    ))
}
