//! The Go modules that define the API, obtained through the Go command.
//!
//! `go mod download` keeps them in its own module cache and checks them against the public
//! checksum database; the sums below pin the exact content on top of that, so that the generated
//! files depend on nothing but this source tree.

use super::golang::{Package, parse_package};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Kubernetes release that the module versions below belong to: major and minor number.
pub(super) const RELEASE: (u32, u32) = (1, 37);

/// Module path, version, and the Go checksum (`h1`) of its content.
const MODULES: &[(&str, &str, &str)] = &[
    (
        "k8s.io/api",
        "v0.37.2",
        "h1:PnxqnUFy93jr2GcpWDkKOm8wfy25kT9wa572MuQS8oc=",
    ),
    (
        "k8s.io/apimachinery",
        "v0.37.2",
        "h1:G4t9RGoPDbQML38hz/kQQiltttgd3egg2ODCR8aIc2o=",
    ),
    (
        "k8s.io/apiextensions-apiserver",
        "v0.37.2",
        "h1:myaUiAlm1NRLYdpAvWYTqdgeiCepFupJiRFVVueMUYw=",
    ),
    (
        "k8s.io/kube-aggregator",
        "v0.37.2",
        "h1:cUT/C/WM3UtoREoTYthSCFxldpdG3y5q9UniWYxcmPE=",
    ),
];

/// An older release, for messages of kinds that the newer one does not have any more (PodSecurityPolicy, the beta versions of
/// autoscaling): objects of them stand in snapshots of older clusters.
const OLDER: &[(&str, &str, &str)] = &[(
    "k8s.io/api",
    "v0.24.17",
    "h1:ILPpMleNDZbMJwopUBOVWtmCq3xBAj/4gJEUicy6QGs=",
)];

/// Unpacked modules: import path and folder of each.
pub(super) struct Modules(Vec<(&'static str, PathBuf)>);

/// Downloads (or finds in the module cache) everything the generator reads.
pub(super) fn modules() -> Result<Modules, String> {
    unpacked(MODULES)
}

/// Those of the older release.
pub(super) fn older() -> Result<Modules, String> {
    unpacked(OLDER)
}

fn unpacked(wanted: &[(&'static str, &str, &str)]) -> Result<Modules, String> {
    let mut modules = Vec::new();
    for (path, version, sum) in wanted {
        let output = Command::new("go")
            .args(["mod", "download", "-json", &format!("{path}@{version}")])
            .current_dir(std::env::temp_dir())
            .output()
            .map_err(|error| {
                format!(
                    "run `go mod download`: {error}: install Go (Debian package golang-go, or \
                     https://go.dev/dl); the generator reads the Kubernetes API's Go modules"
                )
            })?;
        let answer: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("read the answer of `go mod download {path}`: {error}"))?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str);
        if let Some(error) = text("Error") {
            return Err(format!(
                "`go mod download {path}@{version}` failed: {error}"
            ));
        }
        if text("Sum") != Some(sum) {
            return Err(format!(
                "{path}@{version} has checksum {:?}, expected {sum}: the download is not the \
                 release this generator was written for",
                text("Sum")
            ));
        }
        let directory = text("Dir")
            .ok_or_else(|| format!("`go mod download {path}` did not say where it unpacked"))?;
        modules.push((*path, PathBuf::from(directory)));
    }
    Ok(Modules(modules))
}

impl Modules {
    /// Parses every API package: the folders named for a version below the modules' API roots.
    pub(super) fn packages(&self) -> Result<Vec<Package>, String> {
        let mut packages = Vec::new();
        for (module, directory) in &self.0 {
            let root = match *module {
                "k8s.io/api" => "",
                _ => "pkg/apis",
            };
            for group in folders(&directory.join(root))? {
                for version in folders(&group)? {
                    let (Some(group_name), Some(version_name)) = (name(&group), name(&version))
                    else {
                        continue;
                    };
                    if !is_version(version_name) {
                        continue;
                    }
                    let import = [module, root, group_name, version_name]
                        .into_iter()
                        .filter(|part| !part.is_empty())
                        .collect::<Vec<_>>()
                        .join("/");
                    packages.push(parse_package(&version, import, group_name, version_name)?);
                }
            }
        }
        Ok(packages)
    }
}

/// A version as Kubernetes writes it: `v1`, `v2beta1`, `v1alpha3`.
fn is_version(name: &str) -> bool {
    name.strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, String> {
    let read = |error: std::io::Error| format!("list {}: {error}", path.display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.file_type().map_err(read)?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}
