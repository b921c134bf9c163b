//! The image that the end-to-end tests run: the layout of the product's, with the binary that the other tests
//! use too and the libraries that it loads. A static one would build everything a second time.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::archive::Entry;
use super::layout::{self, Image};
use super::{CERTIFICATES, NOBODY, architecture, entries};
use crate::{command, paths, workspace};

/// Builds the binary with the tests of it and writes its image below `out`; the archive's path.
///
/// # Errors
/// The binary does not build, or a file cannot be read or written.
pub(crate) fn build(tag: &str, out: &Path) -> Result<PathBuf, String> {
    let binary = binary()?;
    paths::create_folder(out)?;
    let stripped = out.join("salvor");
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(&stripped);
    command::output(strip.arg(&binary))?;
    let mut contents = entries(&stripped, Path::new(CERTIFICATES), "{}", "")?;
    let libraries = command::output(Command::new("ldd").arg(&stripped))?;
    for library in loaded(&libraries) {
        let bytes = std::fs::read(library).map_err(|error| format!("read {library}: {error}"))?;
        contents.push(Entry::file(library.trim_start_matches('/'), 0o755, bytes));
    }
    let image = Image {
        architecture: architecture(std::env::consts::ARCH)?,
        tag,
        config: layout::server_config(NOBODY, "test"),
        entries: &contents,
    };
    let archive = out.join("salvor.docker.tar");
    image.write_docker(&archive)?;
    Ok(archive)
}

fn binary() -> Result<PathBuf, String> {
    let mut cargo = workspace::cargo();
    // As the tests build it: `cargo build` would choose other features, and build everything a second time.
    cargo.args(["test", "--release", "--workspace", "--no-run"]);
    cargo.args(["--test", "e2e_node"]);
    command::run(&mut cargo)?;
    let mut cargo = workspace::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&command::output(&mut cargo)?)
        .map_err(|error| format!("read the output of cargo metadata: {error}"))?;
    match metadata["target_directory"].as_str() {
        Some(folder) => Ok(Path::new(folder).join("release/salvor")),
        None => Err("cargo metadata names no target folder".to_owned()),
    }
}

/// The files in what `ldd` prints: libraries and the loader. What the kernel brings has no path.
fn loaded(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_found_in_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd1)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        let found: Vec<&str> = loaded(text).collect();
        assert_eq!(
            found,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }
}
