//! What the tests talk to: the one list. In CI each entry must be had; elsewhere what cannot be had
//! is said aloud, and the tests that need it skip themselves aloud.
//!
//! What cannot be had in the test environment at all has no test and stands in
//! `docs/compatibility.md` instead.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, command, debian, kubernetes, paths, testbed, tools};

/// Something that tests talk to.
struct Requirement {
    name: &'static str,
    /// Which tests are skipped without it.
    needed_by: &'static str,
    prepare: fn(&Path) -> Outcome,
}

/// For `cargo xtask test`.
const TEST: &[Requirement] = &[
    Requirement {
        name: "kubectl 1.20, 1.32 and 1.36, promtool, age, restic 0.14 and 0.19, etcd 3.4, 3.5.16 and 3.5.30",
        needed_by: "what kubectl prints against the in-process API server, the tests of the alert rules, of encrypted objects, of repositories, and of etcd snapshots",
        prepare: tools::ensure,
    },
    Requirement {
        name: "zstd",
        needed_by: "the test that a snapshot in a location comes back without this program",
        prepare: |_| match Path::new(ZSTD).is_file() {
            true => Ok(()),
            false => debian::install(&["zstd"]),
        },
    },
    Requirement {
        name: "systemd-analyze",
        needed_by: "the test that systemd takes the units of `etcd install`",
        prepare: |_| match Path::new(SYSTEMD_ANALYZE).is_file() {
            true => Ok(()),
            false => debian::install(&["systemd"]),
        },
    },
    Requirement {
        name: "moto, an S3 server",
        needed_by: "the storage suites over S3",
        prepare: install_moto,
    },
    Requirement {
        name: "Azurite, an Azure blob server",
        needed_by: "the storage suites over Azure's protocol",
        prepare: install_azurite,
    },
];

/// For `cargo xtask e2e`, beyond [`TEST`].
const E2E: &[Requirement] = &[Requirement {
    name: "a Kubernetes API server with etcd",
    needed_by: "everything in the test targets called `e2e`",
    prepare: |_| testbed::build(),
}];

/// Where Debian has it.
const ZSTD: &str = "/usr/bin/zstd";
const SYSTEMD_ANALYZE: &str = "/usr/bin/systemd-analyze";
const MOTO: &str = "5.2.5";
const AZURITE: &str = "3.37.0";

/// Installs what `cargo xtask test` needs.
///
/// # Errors
/// In CI, when something cannot be had.
pub(crate) fn prepare_tests() -> Outcome {
    prepare(TEST)
}

/// Installs what `cargo xtask e2e` needs.
///
/// # Errors
/// In CI, when something cannot be had.
pub(crate) fn prepare_e2e() -> Outcome {
    prepare(TEST).and_then(|()| prepare(E2E))
}

fn prepare(requirements: &[Requirement]) -> Outcome {
    let cache = paths::cache()?;
    let mut missing = Vec::new();
    for requirement in requirements {
        if let Err(reason) = (requirement.prepare)(&cache) {
            let Requirement {
                name, needed_by, ..
            } = requirement;
            let line = format!("{name}: {reason}; needed by {needed_by}");
            eprintln!("skipped: {line}");
            missing.push(line);
        }
    }
    if is_ci() && !missing.is_empty() {
        return Err(format!("CI may not skip:\n  {}", missing.join("\n  ")));
    }
    Ok(())
}

/// True in continuous integration, where a skipped test is a failed one.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// The environment of the tests: where programs are, and whether a skip is a failure.
///
/// # Errors
/// When there is no cache folder.
pub(crate) fn variables() -> Result<Vec<(String, PathBuf)>, String> {
    let cache = paths::cache()?;
    let mut variables = tools::variables(&cache);
    let servers = [
        ("SALVOR_MOTO", moto_program(&cache)),
        ("SALVOR_AZURITE", azurite_program(&cache)),
        ("SALVOR_ZSTD", ZSTD.into()),
        ("SALVOR_SYSTEMD_ANALYZE", SYSTEMD_ANALYZE.into()),
        (
            "SALVOR_KUBE_APISERVER",
            cache.join(kubernetes::FOLDER).join("kube-apiserver"),
        ),
    ];
    for (name, program) in servers.into_iter().filter(|(_, program)| program.is_file()) {
        variables.push((name.to_owned(), program));
    }
    if is_ci() {
        variables.push(("SALVOR_REQUIRE".to_owned(), "1".into()));
    }
    variables.push(("SALVOR_CACHE".to_owned(), cache));
    Ok(variables)
}

fn moto_program(cache: &Path) -> PathBuf {
    cache.join(format!("tools/moto-{MOTO}/bin/moto_server"))
}

fn install_moto(cache: &Path) -> Outcome {
    let program = moto_program(cache);
    let folder = cache.join(format!("tools/moto-{MOTO}"));
    let _lock = paths::lock(&cache.join("tools"))?;
    if program.is_file() {
        return Ok(());
    }
    debian::install(&["python3-venv"])?;
    paths::remove_folder(&folder)?;
    command::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    let installed = command::run(pip.arg(format!("moto[server]=={MOTO}")));
    if installed.is_err() {
        paths::remove_folder(&folder)?;
    }
    installed
}

fn azurite_program(cache: &Path) -> PathBuf {
    cache.join(format!(
        "tools/azurite-{AZURITE}/node_modules/.bin/azurite-blob"
    ))
}

fn install_azurite(cache: &Path) -> Outcome {
    let folder = cache.join(format!("tools/azurite-{AZURITE}"));
    let _lock = paths::lock(&cache.join("tools"))?;
    if azurite_program(cache).is_file() {
        return Ok(());
    }
    // A machine may have Node.js from elsewhere than Debian.
    if command::output(Command::new("npm").arg("--version")).is_err() {
        debian::install(&["nodejs", "npm"])?;
    }
    paths::remove_folder(&folder)?;
    paths::create_folder(&folder)?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--prefix",
    ])
    .arg(&folder);
    let installed = command::run(npm.arg(format!("azurite@{AZURITE}")));
    if installed.is_err() {
        paths::remove_folder(&folder)?;
    }
    installed
}
