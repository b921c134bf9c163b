//! Debian packages: installed ones, and those of other suites, which are only unpacked.
//!
//! Packages of other suites and source packages come through an apt configuration of our own that
//! is derived from the machine's: same mirror, same keys, other suites. The machine's own apt
//! configuration is never written.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, is_root};
use crate::paths;

/// The release whose packages and sources the test environment is made of.
pub(crate) const RELEASE: &str = "bookworm";

/// Installs packages, those that are missing.
///
/// # Errors
/// When one is missing and the user is not root or apt fails; the message is the command to type.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let advice = format!("apt-get install {}", missing.join(" "));
    if !is_root() {
        return Err(format!(
            "packages are missing and only root can install them: {advice}"
        ));
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-qq")
            .args(arguments);
        apt.stdin(std::process::Stdio::null());
        apt
    };
    let install = || {
        let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
        command::run(install.args(&missing))
    };
    // The package lists of a fresh image are absent or too old: refresh them when the first try fails.
    install()
        .or_else(|_| command::run(&mut apt(&["update"])).and_then(|()| install()))
        .map_err(|error| format!("{error}; try `{advice}` by hand"))
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    command::output(&mut query).is_ok_and(|status| status == "installed")
}

/// One package source: a mirror with its keys, as a deb822 stanza without types and suites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    fields: Vec<(String, String)>,
}

impl Mirror {
    /// Finds the mirror that serves `suite` in the text of the machine's apt sources: deb822
    /// stanzas (`.sources`) or one-line entries (`.list`).
    pub(crate) fn find<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
        suite: &str,
    ) -> Option<Mirror> {
        files.into_iter().find_map(|(name, text)| {
            let stanzas = if name.ends_with(".sources") {
                stanzas(text)
            } else {
                one_line(text)
            };
            stanzas
                .into_iter()
                .find_map(|fields| Mirror::from_stanza(fields, suite))
        })
    }

    fn from_stanza(fields: Vec<(String, String)>, suite: &str) -> Option<Mirror> {
        let field = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map_or("", |(_, value)| value.as_str())
        };
        let serves = field("Suites")
            .split_whitespace()
            .any(|known| known == suite);
        let enabled = !field("Enabled").trim().eq_ignore_ascii_case("no");
        let packages = field("Types").split_whitespace().any(|kind| kind == "deb");
        if !(serves && enabled && packages) {
            return None;
        }
        let kept = |key: &str| !["types", "suites", "enabled"].contains(&&*key.to_lowercase());
        Some(Mirror {
            fields: fields.into_iter().filter(|(key, _)| kept(key)).collect(),
        })
    }

    /// The stanza for other suites of this mirror.
    pub(crate) fn stanza(&self, types: &str, suites: &str) -> String {
        let mut text = format!("Types: {types}\nSuites: {suites}\n");
        for (key, value) in &self.fields {
            text.push_str(&format!("{key}:{value}\n"));
        }
        text
    }
}

/// Stanzas of a deb822 file; values keep their leading blank and continuation lines.
fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut stanzas = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(stanza) = stanzas.last_mut() else {
            break;
        };
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.to_owned(), value.to_owned()));
        }
    }
    stanzas
}

/// Entries of the form `deb [signed-by=FILE arch=A] URI SUITE COMPONENT...`.
fn one_line(text: &str) -> Vec<Vec<(String, String)>> {
    text.lines().filter_map(one_line_entry).collect()
}

fn one_line_entry(line: &str) -> Option<Vec<(String, String)>> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(bracket) => bracket.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let mut fields = vec![
        ("Types".to_owned(), format!(" {kind}")),
        ("URIs".to_owned(), format!(" {}", words.next()?)),
        ("Suites".to_owned(), format!(" {}", words.next()?)),
        (
            "Components".to_owned(),
            format!(" {}", words.collect::<Vec<_>>().join(" ")),
        ),
    ];
    for option in options.split_whitespace() {
        let (key, value) = option.split_once('=')?;
        let key = match key {
            "signed-by" => "Signed-By",
            "arch" => "Architectures",
            "trusted" => "Trusted",
            _ => continue,
        };
        fields.push((key.to_owned(), format!(" {}", value.replace(',', " "))));
    }
    Some(fields)
}

/// apt with our own sources, lists and cache, all below one folder.
pub(crate) struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    /// Writes the configuration below `folder` and refreshes its package lists.
    ///
    /// # Errors
    /// When the machine's sources name no mirror of Debian 12, or the lists cannot be fetched.
    pub(crate) fn refresh(folder: &Path, types: &str, suites: &str) -> Result<Self, String> {
        let apt = PrivateApt {
            folder: folder.to_path_buf(),
        };
        for part in ["sources", "lists/partial", "cache/archives/partial"] {
            paths::create_folder(&folder.join(part))?;
        }
        paths::write(&folder.join("apt.conf"), &apt.configuration())?;
        let files = machine_sources()?;
        let mirror = Mirror::find(
            files
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
            RELEASE,
        )
        .ok_or_else(|| {
            format!("no entry for {RELEASE} in /etc/apt: the test environment is Debian 12's")
        })?;
        let stanza = mirror.stanza(types, suites);
        paths::write(&folder.join("sources/debian.sources"), &stanza)?;
        command::run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// Downloads the files of a source package into `into` without unpacking them.
    ///
    /// # Errors
    /// As apt says.
    pub(crate) fn download_source(&self, package: &str, into: &Path) -> Result<(), String> {
        let mut apt = self.command("apt-get");
        apt.args(["-qq", "source", "--download-only", package])
            .current_dir(into);
        command::run(&mut apt)
    }

    /// All versions of a package in the configured suites.
    ///
    /// # Errors
    /// As apt says.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>, String> {
        let table = command::output(self.command("apt-cache").args(["madison", package]))?;
        let version = |line: &str| line.split('|').nth(1).map(|field| field.trim().to_owned());
        Ok(table.lines().filter_map(version).collect())
    }

    /// Downloads one package and unpacks it into `into`, beside the system's own.
    ///
    /// # Errors
    /// As apt or dpkg says.
    pub(crate) fn unpack(&self, package: &str, version: &str, into: &Path) -> Result<(), String> {
        let mut apt = self.command("apt-get");
        apt.args(["-qq", "download", &format!("{package}={version}")])
            .current_dir(into);
        command::run(&mut apt)?;
        let archive = std::fs::read_dir(into)
            .map_err(|error| format!("list {}: {error}", into.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| format!("apt left no package file for {package} {version}"))?;
        command::run(Command::new("dpkg").arg("-x").arg(archive).arg(into))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.folder.join("apt.conf"))
            .stdin(std::process::Stdio::null());
        command
    }

    fn configuration(&self) -> String {
        let folder = self.folder.display();
        // Downloads go to folders that only this user may read: hence no sandbox user.
        format!(
            "\
Dir::Etc::sourcelist \"/dev/null\";
Dir::Etc::sourceparts \"{folder}/sources\";
Dir::Etc::preferences \"/dev/null\";
Dir::Etc::preferencesparts \"/dev/null\";
Dir::State::lists \"{folder}/lists\";
Dir::Cache \"{folder}/cache\";
Acquire::Languages \"none\";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";
APT::Sandbox::User \"root\";
"
        )
    }
}

/// Names and texts of the machine's apt source files.
fn machine_sources() -> Result<Vec<(String, String)>, String> {
    let mut names = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        names.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    names.retain(|name| {
        let extension = name.extension().and_then(|extension| extension.to_str());
        name.is_file() && matches!(extension, Some("list" | "sources"))
    });
    names.sort();
    names
        .into_iter()
        .map(|name| Ok((name.display().to_string(), paths::read(&name)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: &str = "\
# the machine's own
Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main

Types: deb deb-src
# pinned
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
";

    fn find(name: &str, text: &str) -> Option<String> {
        Mirror::find([(name, text)], "bookworm")
            .map(|mirror| mirror.stanza("deb-src", "trixie sid"))
    }

    #[test]
    fn keeps_uri_components_and_embedded_key_of_the_stanza_that_serves_the_suite() {
        let expected = "\
Types: deb-src
Suites: trixie sid
URIs: http://mirror.test/debian
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
";
        assert_eq!(find("debian.sources", SOURCES).as_deref(), Some(expected));
    }

    #[test]
    fn reads_one_line_entries_with_options() {
        let text = "# deb http://old bookworm main\n\
                    deb [arch=amd64,arm64 signed-by=/k.gpg] http://mirror.test/debian bookworm main contrib # x\n";
        let expected = "Types: deb-src\nSuites: trixie sid\nURIs: http://mirror.test/debian\n\
                        Components: main contrib\nArchitectures: amd64 arm64\nSigned-By: /k.gpg\n";
        assert_eq!(find("sources.list", text).as_deref(), Some(expected));
    }

    #[test]
    fn passes_over_disabled_source_only_and_other_suites() {
        for (name, text) in [
            (
                "a.sources",
                "Types: deb\nURIs: http://m\nSuites: bookworm\nEnabled: no\n",
            ),
            (
                "a.sources",
                "Types: deb-src\nURIs: http://m\nSuites: bookworm\n",
            ),
            (
                "a.sources",
                "Types: deb\nURIs: http://m\nSuites: bookworm-updates\n",
            ),
            ("a.list", "deb-src http://m bookworm main\n"),
            ("a.list", "deb http://m\n"),
            ("a.list", ""),
        ] {
            assert_eq!(find(name, text), None, "{text}");
        }
    }
}
