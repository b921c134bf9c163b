//! The Kubernetes control plane of the test bed, built once from Debian's source package.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{self, PrivateApt, RELEASE};
use crate::{command, paths};

/// The version that the source package holds.
pub(crate) const VERSION: &str = "1.20.2";

/// Folder of the programs in the cache; the last number counts changes of how they are built.
pub(crate) const FOLDER: &str = "kubernetes-1.20.2-2";

/// What the test bed runs.
const PROGRAMS: [&str; 4] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
];

/// Newer Go does not build this tree.
const GO: &str = "/usr/lib/go-1.19/bin";

/// Since Go 1.18 a map iterator is larger than the one that this tree's copy of reflect2 (1.0.1) lays out
/// on the stack: a server built with that copy overwrites its memory and dies of a segmentation fault when it
/// encodes the metadata of custom resources. 1.0.2 knows both sizes.
const REFLECT2_PACKAGE: &str = "golang-github-modern-go-reflect2-dev";
const REFLECT2: &str = "github.com/modern-go/reflect2";

/// Without this file the servers call themselves v0.0.0 and clients misbehave.
const VERSION_FILE: &str = "\
KUBE_GIT_COMMIT='faecb196815e248d3ecfb03c680a4507229c2a56'
KUBE_GIT_TREE_STATE='clean'
KUBE_GIT_VERSION='v1.20.2'
KUBE_GIT_MAJOR='1'
KUBE_GIT_MINOR='20'
";

/// The folder with the programs; builds those that are missing, which takes about twelve minutes for
/// all of them on two cores.
///
/// # Errors
/// When the source package, Go or the disk space (4 GB while building) cannot be had.
pub(crate) fn ensure(cache: &Path) -> Result<PathBuf, String> {
    let folder = cache.join(FOLDER);
    let _lock = paths::lock(&folder)?;
    let missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|program| !folder.join(program).is_file())
        .collect();
    if !missing.is_empty() {
        eprintln!(
            "building {} {VERSION}: about twelve minutes for all four",
            missing.join(", ")
        );
        build(&folder, &missing, &cache.join("apt/source"))?;
    }
    Ok(folder)
}

fn build(folder: &Path, programs: &[&str], apt_folder: &Path) -> Result<(), String> {
    debian::install(&["golang-1.19-go", REFLECT2_PACKAGE, "make", "rsync"])?;
    let work = folder.join("source");
    let tree = work.join("gopath/src/k8s.io/kubernetes");
    if !tree.join("Makefile").is_file() {
        fetch_source(&work, &tree, apt_folder)?;
    }
    replace_reflect2(&tree)?;
    let version_file = work.join("version");
    paths::write(&version_file, VERSION_FILE)?;
    let targets: Vec<String> = programs.iter().map(|name| format!("cmd/{name}")).collect();
    let path = format!("{GO}:{}", std::env::var("PATH").unwrap_or_default());
    let mut make = Command::new("make");
    make.current_dir(&tree)
        .stdin(std::process::Stdio::null())
        .arg("GOFLAGS=-p=2")
        .arg(format!("WHAT={}", targets.join(" ")))
        .env("PATH", path)
        .env("GOPATH", work.join("gopath"))
        .env("GOCACHE", work.join("gocache"))
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .env("KUBE_GIT_VERSION_FILE", &version_file)
        // Our own make may be above this one; its job server and flags do not belong here.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    command::run(&mut make)?;
    for program in programs {
        paths::install_file(
            &tree.join("_output/bin").join(program),
            &folder.join(program),
        )?;
    }
    paths::remove_folder(&work)
}

/// Puts the package's sources in the place of the tree's own.
fn replace_reflect2(tree: &Path) -> Result<(), String> {
    let vendored = tree.join("vendor").join(REFLECT2);
    let packaged = Path::new("/usr/share/gocode/src").join(REFLECT2);
    let sources = |folder: &Path| -> Result<Vec<PathBuf>, String> {
        let entries = std::fs::read_dir(folder)
            .map_err(|error| format!("list {}: {error}", folder.display()))?;
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        Ok(paths
            .filter(|path| {
                path.extension()
                    .is_some_and(|ext| ext == "go" || ext == "s")
            })
            .collect())
    };
    for old in sources(&vendored)? {
        std::fs::remove_file(&old).map_err(|error| format!("remove {}: {error}", old.display()))?;
    }
    for new in sources(&packaged)? {
        let Some(name) = new.file_name() else {
            continue;
        };
        std::fs::copy(&new, vendored.join(name))
            .map_err(|error| format!("copy {}: {error}", new.display()))?;
    }
    Ok(())
}

fn fetch_source(work: &Path, tree: &Path, apt_folder: &Path) -> Result<(), String> {
    let download = work.join("download");
    paths::remove_folder(&download)?;
    paths::create_folder(&download)?;
    paths::create_folder(tree)?;
    PrivateApt::refresh(apt_folder, "deb-src", RELEASE)?
        .download_source("kubernetes", &download)?;
    let archive = std::fs::read_dir(&download)
        .map_err(|error| format!("list {}: {error}", download.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".orig.tar.gz"))
        .ok_or("the source package `kubernetes` has no .orig.tar.gz")?;
    if !archive.to_string_lossy().contains(VERSION) {
        return Err(format!("{} is not Kubernetes {VERSION}", archive.display()));
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf")
        .arg(archive)
        .arg("--strip-components=1")
        .arg("-C")
        .arg(tree);
    command::run(&mut tar)
}
