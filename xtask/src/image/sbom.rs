//! What is in the binary: a CycloneDX list and the licences, from `cargo metadata` and the lock file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{command, paths, workspace};

/// A package whose code is in the binary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    name: String,
    version: String,
    license: String,
    /// SHA-256 of what the registry has; empty for our own.
    checksum: String,
    folder: PathBuf,
    ours: bool,
    /// `name@version` of what it needs.
    needs: Vec<String>,
}

impl Package {
    fn key(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// The whole of `cargo metadata` for a target.
///
/// # Errors
/// cargo fails, as without a lock file that fits.
pub(super) fn metadata(target: &str) -> Result<Value, String> {
    let mut cargo = workspace::cargo();
    cargo.args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        target,
    ]);
    serde_json::from_str(&command::output(&mut cargo)?)
        .map_err(|error| format!("read the output of cargo metadata: {error}"))
}

/// Version of the binary.
///
/// # Errors
/// The workspace has no such package.
pub(super) fn version(metadata: &Value) -> Result<String, String> {
    let packages = metadata["packages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let found = packages.iter().find(|package| package["name"] == "salvor");
    found
        .map(|package| text(&package["version"]))
        .ok_or("no package `salvor`".to_owned())
}

/// The packages whose code is in the binary: what `salvor` needs, without what only builds or tests.
///
/// # Errors
/// A package has no licence.
pub(super) fn shipped(metadata: &Value, lock: &str) -> Result<Vec<Package>, String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let checksums = checksums(lock);
    let packages = list(&metadata["packages"]);
    let by_id: BTreeMap<String, &Value> = packages
        .iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let by_node: BTreeMap<String, &Value> =
        nodes.iter().map(|node| (text(&node["id"]), node)).collect();
    let is_binary = |package: &&&Value| package["name"] == "salvor";
    let root = by_id
        .values()
        .find(is_binary)
        .ok_or("no package `salvor`")?;
    let mut waiting = vec![text(&root["id"])];
    let mut seen = BTreeSet::new();
    let mut shipped = Vec::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let package = by_id.get(&id).ok_or(format!("no package {id}"))?;
        let node = by_node.get(&id).ok_or(format!("no dependencies of {id}"))?;
        let mut needs = Vec::new();
        for dependency in list(&node["deps"]) {
            let normal = list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            let other = text(&dependency["pkg"]);
            let is_macro = by_id.get(&other).is_some_and(|package| is_macro(package));
            if normal && !is_macro {
                let target = by_id.get(&other).ok_or(format!("no package {other}"))?;
                needs.push(format!(
                    "{}@{}",
                    text(&target["name"]),
                    text(&target["version"])
                ));
                waiting.push(other);
            }
        }
        needs.sort();
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let license = text(&package["license"]);
        if license.is_empty() {
            return Err(format!("package {name} {version} names no licence"));
        }
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        shipped.push(Package {
            checksum: checksums
                .get(&(name.clone(), version.clone()))
                .cloned()
                .unwrap_or_default(),
            folder: manifest.parent().unwrap_or(Path::new("/")).to_owned(),
            ours: package["source"].is_null(),
            name,
            version,
            license,
            needs,
        });
    }
    shipped.sort();
    Ok(shipped)
}

/// Macros run while the compiler does; their code is not in the binary.
fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().cloned().unwrap_or_default();
    targets
        .iter()
        .any(|target| target["kind"][0] == "proc-macro")
}

/// Checksums of the lock file by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut checksums = BTreeMap::new();
    let (mut name, mut version) = (String::new(), String::new());
    for line in lock.lines() {
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        let value = value.trim_matches('"').to_owned();
        match key {
            "name" => name = value,
            "version" => version = value,
            "checksum" => {
                checksums.insert((name.clone(), version.clone()), value);
            }
            _ => {}
        }
    }
    checksums
}

/// The list in CycloneDX's form, without a serial number or time.
pub(super) fn cyclonedx(packages: &[Package], version: &str) -> String {
    let mut components: Vec<Value> = packages.iter().map(component).collect();
    // What the linker puts in beside Rust's.
    components.push(json!({
        "type": "library", "bom-ref": "glibc", "name": "glibc", "version": libc_version(),
        "licenses": [{"license": {"id": "LGPL-2.1-or-later"}}],
    }));
    let dependencies: Vec<Value> = packages
        .iter()
        .map(|package| json!({"ref": package.key(), "dependsOn": package.needs}))
        .collect();
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": "image", "name": "salvor", "version": version},
        },
        "components": components,
        "dependencies": dependencies,
    });
    format!("{bom:#}\n")
}

fn component(package: &Package) -> Value {
    let mut component = json!({
        "type": if package.name == "salvor" { "application" } else { "library" },
        "bom-ref": package.key(),
        "name": package.name,
        "version": package.version,
        "licenses": [{"expression": package.license.replace(" / ", " OR ").replace('/', " OR ")}],
    });
    if !package.ours {
        component["purl"] = json!(format!("pkg:cargo/{}", package.key()));
    }
    if !package.checksum.is_empty() {
        component["hashes"] = json!([{"alg": "SHA-256", "content": package.checksum}]);
    }
    component
}

fn libc_version() -> String {
    let mut getconf = std::process::Command::new("getconf");
    let version = command::output(getconf.arg("GNU_LIBC_VERSION")).unwrap_or_default();
    version.trim().trim_start_matches("glibc ").to_owned()
}

/// Each package with its licence, then every licence text that the packages carry, once.
///
/// # Errors
/// A folder of a package cannot be read.
pub(super) fn licenses(packages: &[Package]) -> Result<String, String> {
    let mut text = "Code of these packages is in the binary.\n\n".to_owned();
    for package in packages {
        text.push_str(&format!(
            "{} {}: {}\n",
            package.name, package.version, package.license
        ));
    }
    text.push_str(&format!(
        "glibc {}: LGPL-2.1-or-later; the source of Salvor and Cargo.lock are what it can be linked anew from\n\
         ca-certificates: MPL-2.0\n",
        libc_version()
    ));
    let mut by_text: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages.iter().filter(|package| !package.ours) {
        for file in license_files(&package.folder)? {
            let content = String::from_utf8_lossy(
                &std::fs::read(&file)
                    .map_err(|error| format!("read {}: {error}", file.display()))?,
            )
            .trim()
            .replace("\r\n", "\n");
            by_text.entry(content).or_default().insert(package.key());
        }
    }
    let ours = paths::repository().join("LICENSE");
    if ours.is_file() {
        by_text
            .entry(paths::read(&ours)?.trim().to_owned())
            .or_default()
            .insert("salvor".to_owned());
    }
    for (content, names) in by_text {
        let names: Vec<String> = names.into_iter().collect();
        text.push_str(&format!(
            "\n{}\n{}\n\n{content}\n",
            "=".repeat(80),
            names.join(", ")
        ));
    }
    Ok(text)
}

fn license_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("read folder {}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        let is_license = ["LICENSE", "LICENCE", "COPYING", "NOTICE"]
            .iter()
            .any(|word| name.starts_with(word));
        if is_license && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, license: Value, kind: &str) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0", "license": license, "source": "registry",
               "manifest_path": format!("/{name}/Cargo.toml"), "targets": [{"kind": [kind]}]})
    }

    fn node(name: &str, needs: &[(&str, Value)]) -> Value {
        let deps: Vec<Value> = needs
            .iter()
            .map(|(name, kind)| json!({"pkg": name, "dep_kinds": [{"kind": kind}]}))
            .collect();
        json!({"id": name, "deps": deps})
    }

    #[test]
    fn what_only_builds_or_tests_is_not_listed() {
        let mit = json!("MIT");
        let packages = [
            package("salvor", json!("Apache-2.0"), "bin"),
            package("used", mit.clone(), "lib"),
            package("below", json!("MIT/Apache-2.0"), "lib"),
            package("test", mit.clone(), "lib"),
            package("build", mit.clone(), "lib"),
            package("derive", mit, "proc-macro"),
        ];
        let resolved = json!({"packages": packages, "resolve": {"nodes": [
            node("salvor", &[("used", Value::Null), ("test", json!("dev")),
                             ("build", json!("build")), ("derive", Value::Null)]),
            node("used", &[("below", Value::Null)]),
            node("below", &[]), node("test", &[]), node("build", &[]), node("derive", &[]),
        ]}});
        let lock = "[[package]]\nname = \"used\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let shipped = shipped(&resolved, lock).expect("complete");
        let names: Vec<&str> = shipped
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(names, ["below", "salvor", "used"]);
        let bom: Value = serde_json::from_str(&cyclonedx(&shipped, "1.0.0")).expect("JSON");
        assert_eq!(
            bom["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(bom["components"][2]["hashes"][0]["content"], "abc");
        assert_eq!(bom["components"][2]["purl"], "pkg:cargo/used@1.0.0");
        assert_eq!(bom["dependencies"][2]["dependsOn"], json!(["below@1.0.0"]));
        assert_eq!(version(&resolved).as_deref(), Ok("1.0.0"));
    }

    #[test]
    fn a_package_without_a_licence_is_an_error() {
        let resolved = json!({"packages": [package("salvor", Value::Null, "bin")],
            "resolve": {"nodes": [node("salvor", &[])]}});
        let error = shipped(&resolved, "").expect_err("no licence");
        assert!(error.contains("salvor 1.0.0 names no licence"), "{error}");
    }

    #[test]
    fn the_list_of_this_workspace_is_complete() {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let metadata = metadata(&target).expect("cargo metadata");
        let lock = paths::read(&paths::repository().join("Cargo.lock")).expect("the lock file");
        let packages = shipped(&metadata, &lock).expect("every package has a licence");
        assert!(packages.len() > 100, "{}", packages.len());
        for package in packages.iter().filter(|package| !package.ours) {
            assert_eq!(package.checksum.len(), 64, "{package:?}");
        }
        assert!(
            packages
                .iter()
                .all(|package| package.name != "salvor-testkit")
        );
    }
}
