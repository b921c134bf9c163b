//! `cargo xtask test`: everything up to child processes.

use crate::{Outcome, command, requirements, workspace};

/// Runs `cargo xtask test`; the arguments go to `cargo test`.
///
/// End-to-end targets are left out because their manifests say `test = false` (see `tidy`).
pub(crate) fn run(arguments: &[String]) -> Outcome {
    requirements::prepare_tests()?;
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--release", "--workspace", "--no-fail-fast"])
        .args(arguments);
    cargo.envs(requirements::variables()?);
    command::run(&mut cargo)
}
