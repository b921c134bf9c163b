//! `cargo xtask image`: a container image of the static binary, without a daemon and without a base image.
//!
//! The same source, compiler, certificates and arguments give the same bytes: nothing in the image has a time, an
//! owner or an order of its own.

pub(crate) mod archive;
pub(crate) mod layout;
mod sbom;
mod tested;

use std::path::{Path, PathBuf};

pub(crate) use self::tested::build as build_for_tests;

use self::archive::{Entry, sha256};
use self::layout::Image;
use crate::{Outcome, command, paths, workspace};

const USAGE: &str = "\
usage: cargo xtask image [options]

  --out FOLDER         where the files go (default: image-out in the cache folder)
  --tag NAME           name of the image (default: ghcr.io/salvor-dr/salvor:v and the version)
  --target TRIPLE      what it runs on (default: this machine); another one needs its linker and Rust's library
  --binary FILE        this binary instead of a new one; it must be static
  --certificates FILE  certificates of the authorities, PEM (default: those of this machine)

Writes salvor.docker.tar (docker load, ctr images import), salvor.oci.tar (skopeo, oras), sbom.json (CycloneDX)
and licenses.txt, and prints the digest of each.
";

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A user and group that own nothing; the manifests of `salvor install` name them too.
const NOBODY: &str = "65532:65532";

/// Runs `cargo xtask image`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments)?;
    let metadata = sbom::metadata(&options.target)?;
    let version = sbom::version(&metadata)?;
    let out = match &options.out {
        Some(out) => out.clone(),
        None => paths::cache()?.join("image-out"),
    };
    paths::create_folder(&out)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&options.target)?,
    };
    assert_static(&binary)?;
    let lock = paths::read(&paths::repository().join("Cargo.lock"))?;
    let packages = sbom::shipped(&metadata, &lock)?;
    let architecture = architecture(&options.target)?;
    let tag = options
        .tag
        .clone()
        .unwrap_or_else(|| format!("ghcr.io/salvor-dr/salvor:v{version}"));
    let sbom = sbom::cyclonedx(&packages, &version);
    let licenses = sbom::licenses(&packages)?;
    let entries = entries(&binary, &options.certificates, &sbom, &licenses)?;
    let image = Image {
        architecture,
        tag: &tag,
        config: layout::server_config(NOBODY, &version),
        entries: &entries,
    };
    paths::write(&out.join("sbom.json"), &sbom)?;
    paths::write(&out.join("licenses.txt"), &licenses)?;
    image.write(&out)?;
    println!(
        "{tag} for linux/{architecture}, {} packages",
        packages.len()
    );
    for name in [
        "salvor.docker.tar",
        "salvor.oci.tar",
        "sbom.json",
        "licenses.txt",
    ] {
        let file = out.join(name);
        println!("sha256:{}  {}", sha256(&file)?, file.display());
    }
    Ok(())
}

/// Builds the static binary in a target folder of its own: other flags would build everything anew.
fn build(target: &str) -> Result<PathBuf, String> {
    let folder = paths::cache()?.join("image-target");
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "salvor",
        "--bin",
        "salvor",
    ]);
    // Also for this machine: with a target named, the flags do not go to build scripts and macros.
    cargo.args(["--target", target]);
    cargo.env("CARGO_TARGET_DIR", &folder);
    cargo.env("RUSTFLAGS", rust_flags());
    // Lines of panics stay readable by their symbols; the rest is half of the file.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    cargo.env("CARGO_INCREMENTAL", "0");
    command::run(&mut cargo)?;
    Ok(folder.join(target).join("release/salvor"))
}

/// Static, and without the folders of whoever builds it.
fn rust_flags() -> String {
    let mut flags = vec![
        "-C target-feature=+crt-static".to_owned(),
        // A static program finds no such function at run time, and would read /dev/random, which an image without
        // a runtime around it does not have.
        "--cfg getrandom_backend=\"linux_getrandom\"".to_owned(),
    ];
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| home.map(|home| home.join(".cargo")));
    for (folder, name) in [
        (Some(paths::repository()), "/salvor"),
        (cargo_home, "/cargo"),
    ] {
        if let Some(folder) = folder {
            flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
        }
    }
    flags.join(" ")
}

/// A binary that asks for a loader would not start in an image that has nothing else.
fn assert_static(binary: &Path) -> Outcome {
    let bytes =
        std::fs::read(binary).map_err(|error| format!("read {}: {error}", binary.display()))?;
    match interpreter(&bytes) {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!(
            "{} is not static: it asks for a loader; build it with -C target-feature=+crt-static",
            binary.display()
        )),
        Err(reason) => Err(format!("{}: {reason}", binary.display())),
    }
}

/// True when an ELF file names a loader.
fn interpreter(bytes: &[u8]) -> Result<bool, &'static str> {
    const NOT_ELF: &str = "it is not an ELF file of 64 bits, little-endian";
    const PT_INTERP: u64 = 3;
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(NOT_ELF);
    }
    let number = |at: usize, length: usize| -> Result<u64, &'static str> {
        let bytes = bytes.get(at..at + length).ok_or(NOT_ELF)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    };
    let offset = usize::try_from(number(32, 8)?).map_err(|_| NOT_ELF)?;
    let (size, count) = (number(54, 2)? as usize, number(56, 2)? as usize);
    for header in 0..count {
        if number(offset.saturating_add(header * size), 4)? == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is in the image, in the order of the archive.
fn entries(
    binary: &Path,
    certificates: &Path,
    sbom: &str,
    licenses: &str,
) -> Result<Vec<Entry>, String> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))
    };
    let text = |text: &str| text.as_bytes().to_vec();
    Ok(vec![
        Entry::folder("etc", 0o755),
        Entry::file("etc/group", 0o644, text("root:x:0:\nnobody:x:65532:\n")),
        Entry::file(
            "etc/passwd",
            0o644,
            text("root:x:0:0:root:/:/none\nnobody:x:65532:65532:nobody:/tmp:/none\n"),
        ),
        Entry::folder("etc/ssl", 0o755),
        Entry::folder("etc/ssl/certs", 0o755),
        Entry::file(
            "etc/ssl/certs/ca-certificates.crt",
            0o644,
            read(certificates)?,
        ),
        Entry::file("salvor", 0o755, read(binary)?),
        Entry::folder("tmp", 0o1777),
        Entry::folder("usr", 0o755),
        Entry::folder("usr/share", 0o755),
        Entry::folder("usr/share/salvor", 0o755),
        Entry::file("usr/share/salvor/licenses.txt", 0o644, text(licenses)),
        Entry::file("usr/share/salvor/sbom.json", 0o644, text(sbom)),
    ])
}

/// The name that images have for the processor of a target.
pub(crate) fn architecture(target: &str) -> Result<&'static str, String> {
    match target.split('-').next() {
        Some("x86_64") => Ok("amd64"),
        Some("aarch64") => Ok("arm64"),
        _ => Err(format!(
            "no image for target `{target}`: x86_64 and aarch64 are known"
        )),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    out: Option<PathBuf>,
    tag: Option<String>,
    target: String,
    binary: Option<PathBuf>,
    certificates: PathBuf,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options {
            out: None,
            tag: None,
            target: format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
            binary: None,
            certificates: CERTIFICATES.into(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                let value = rest.next().cloned();
                value.ok_or(format!("{argument} needs a value\n\n{USAGE}"))
            };
            match argument.as_str() {
                "--out" => options.out = Some(value()?.into()),
                "--tag" => options.tag = Some(value()?),
                "--target" => options.target = value()?,
                "--binary" => options.binary = Some(value()?.into()),
                "--certificates" => options.certificates = value()?.into(),
                _ => return Err(format!("no option `{argument}`\n\n{USAGE}")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_the_rest_is_refused() {
        let parse = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Options::parse(&arguments)
        };
        let options = parse("--tag t --out o --target aarch64-unknown-linux-gnu").expect("valid");
        assert_eq!(options.tag.as_deref(), Some("t"));
        assert_eq!(architecture(&options.target), Ok("arm64"));
        for line in ["--tag", "image", "--arch arm64"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(architecture("riscv64gc-unknown-linux-gnu").is_err());
    }

    #[test]
    fn a_binary_with_a_loader_is_told_from_a_static_one() {
        let elf = |kind: u8| {
            let mut bytes = vec![0; 120];
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[32] = 64;
            bytes[54] = 56;
            bytes[56] = 1;
            bytes[64] = kind;
            bytes
        };
        assert_eq!(interpreter(&elf(3)), Ok(true));
        assert_eq!(interpreter(&elf(1)), Ok(false));
        assert!(interpreter(b"#!/bin/sh\n").is_err());
        assert!(
            interpreter(&elf(3)[..100]).is_ok(),
            "what is there is enough"
        );
        assert!(interpreter(&elf(3)[..60]).is_err(), "the header is cut");
    }
}
