//! What `cargo metadata` says about the workspace: packages, dependencies, targets.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{command, paths};

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// From `[dev-dependencies]`.
    pub(crate) only_tests: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// `lib`, `bin`, `example`, `test`, ...
    pub(crate) kind: String,
    /// Whether a plain `cargo test` builds and runs it.
    pub(crate) tested: bool,
    pub(crate) root_file: PathBuf,
}

/// All packages of the workspace, in cargo's order.
///
/// # Errors
/// When a manifest cannot be read.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&command::output(&mut cargo)?)
        .map_err(|error| format!("read the output of cargo metadata: {error}"))?;
    Ok(list(&metadata["packages"]).iter().map(package).collect())
}

/// The cargo that runs this program, in the root of the repository.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.current_dir(paths::repository());
    // What `cargo run` tells this program about its own package would look like a change of environment to
    // the build scripts of some dependencies, which then build themselves, and all above them, anew.
    for (name, _) in std::env::vars_os() {
        let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if about_us
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            cargo.env_remove(&name);
        }
    }
    cargo
}

fn package(value: &Value) -> Package {
    Package {
        name: text(&value["name"]),
        dependencies: list(&value["dependencies"])
            .iter()
            .map(|dependency| Dependency {
                name: text(&dependency["name"]),
                only_tests: dependency["kind"] == "dev",
            })
            .collect(),
        targets: list(&value["targets"])
            .iter()
            .map(|target| Target {
                name: text(&target["name"]),
                kind: text(&target["kind"][0]),
                tested: target["test"] == true,
                root_file: text(&target["src_path"]).into(),
            })
            .collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
