//! Client programs that the tests talk to, taken out of packages into the cache folder.
//!
//! A program of the same name on `PATH` is never used: its version is unknown.

use std::path::{Path, PathBuf};

use crate::debian::PrivateApt;
use crate::paths;

/// The suites that carry the versions below.
const SUITES: &str = "bookworm trixie forky sid";

/// A program from a package of some Debian suite.
struct Tool {
    /// Folder in the cache, and program name before the dash.
    name: &'static str,
    package: &'static str,
    /// What the package's version starts with.
    version: &'static str,
    /// Path in the package.
    program: &'static str,
    /// The environment variable by which tests find it.
    variable: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "kubectl-1.20",
        package: "kubernetes-client",
        version: "1.20.",
        program: "usr/bin/kubectl",
        variable: "SALVOR_KUBECTL_1_20",
    },
    Tool {
        name: "kubectl-1.32",
        package: "kubectl",
        version: "1.32.",
        program: "usr/bin/kubectl",
        variable: "SALVOR_KUBECTL_1_32",
    },
    Tool {
        name: "kubectl-1.36",
        package: "kubectl",
        version: "1.36.",
        program: "usr/bin/kubectl",
        variable: "SALVOR_KUBECTL_1_36",
    },
    Tool {
        name: "age-1",
        package: "age",
        version: "1.",
        program: "usr/bin/age",
        variable: "SALVOR_AGE",
    },
    Tool {
        name: "promtool-2.42",
        package: "prometheus",
        version: "2.42.",
        program: "usr/bin/promtool",
        variable: "SALVOR_PROMTOOL",
    },
    Tool {
        name: "restic-0.14",
        package: "restic",
        version: "0.14.",
        program: "usr/bin/restic",
        variable: "SALVOR_RESTIC_0_14",
    },
    Tool {
        name: "restic-0.19",
        package: "restic",
        version: "0.19.",
        program: "usr/bin/restic",
        variable: "SALVOR_RESTIC_0_19",
    },
    Tool {
        name: "etcd-3.4",
        package: "etcd-server",
        version: "3.4.",
        program: "usr/bin/etcd",
        variable: "SALVOR_ETCD_3_4",
    },
    Tool {
        name: "etcdctl-3.4",
        package: "etcd-client",
        version: "3.4.",
        program: "usr/bin/etcdctl",
        variable: "SALVOR_ETCDCTL_3_4",
    },
    Tool {
        name: "etcd-3.5.16",
        package: "etcd-server",
        version: "3.5.16",
        program: "usr/bin/etcd",
        variable: "SALVOR_ETCD_3_5_16",
    },
    Tool {
        name: "etcdctl-3.5.16",
        package: "etcd-client",
        version: "3.5.16",
        program: "usr/bin/etcdctl",
        variable: "SALVOR_ETCDCTL_3_5_16",
    },
    Tool {
        name: "etcdutl-3.5.16",
        package: "etcd-server",
        version: "3.5.16",
        program: "usr/bin/etcdutl",
        variable: "SALVOR_ETCDUTL_3_5_16",
    },
    Tool {
        name: "etcd-3.5.30",
        package: "etcd-server",
        version: "3.5.30",
        program: "usr/bin/etcd",
        variable: "SALVOR_ETCD_3_5_30",
    },
    Tool {
        name: "etcdctl-3.5.30",
        package: "etcd-client",
        version: "3.5.30",
        program: "usr/bin/etcdctl",
        variable: "SALVOR_ETCDCTL_3_5_30",
    },
    Tool {
        name: "etcdutl-3.5.30",
        package: "etcd-server",
        version: "3.5.30",
        program: "usr/bin/etcdutl",
        variable: "SALVOR_ETCDUTL_3_5_30",
    },
];

/// kubectl for the test bed's own needs.
pub(crate) fn kubectl(cache: &Path) -> PathBuf {
    cache.join("tools/kubectl-1.32/kubectl")
}

/// Fetches what is missing.
///
/// # Errors
/// Names the first program that cannot be had, and the versions that are there instead.
pub(crate) fn ensure(cache: &Path) -> Result<(), String> {
    let folder = cache.join("tools");
    let _lock = paths::lock(&folder)?;
    let missing: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| !tool.path(cache).is_file())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = PrivateApt::refresh(&cache.join("apt/later"), "deb", SUITES)?;
    missing
        .into_iter()
        .try_for_each(|tool| tool.fetch(&apt, cache))
}

/// Names and values of the variables by which tests find the programs that are in the cache.
pub(crate) fn variables(cache: &Path) -> Vec<(String, PathBuf)> {
    TOOLS
        .iter()
        .map(|tool| (tool.variable.to_owned(), tool.path(cache)))
        .filter(|(_, path)| path.is_file())
        .collect()
}

impl Tool {
    fn path(&self, cache: &Path) -> PathBuf {
        let program = self.program.rsplit('/').next().unwrap_or(self.program);
        cache.join("tools").join(self.name).join(program)
    }

    fn fetch(&self, apt: &PrivateApt, cache: &Path) -> Result<(), String> {
        let versions = apt.versions(self.package)?;
        let version = versions
            .iter()
            .find(|version| version.starts_with(self.version))
            .ok_or_else(|| {
                format!(
                    "{}: no version {}* of package {} in {SUITES}; there are: {}",
                    self.name,
                    self.version,
                    self.package,
                    versions.join(", ")
                )
            })?;
        let target = self.path(cache);
        let folder = cache.join("tools").join(self.name);
        let unpacked = folder.join("package");
        paths::remove_folder(&unpacked)?;
        paths::create_folder(&unpacked)?;
        apt.unpack(self.package, version, &unpacked)?;
        paths::install_file(&unpacked.join(self.program), &target)?;
        paths::remove_folder(&unpacked)
    }
}
