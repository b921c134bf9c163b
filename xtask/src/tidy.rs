//! `cargo xtask tidy`: rules that the compiler does not know.
//!
//! Each rule is a pure function from texts to findings; this file only collects texts and prints.
//! To change a rule, change its table.

mod links;
mod sources;
mod tree;
mod walls;

use std::path::Path;
use std::process::Command;

use crate::{Outcome, command, paths, workspace};

/// What is wrong, where: `path:line: reason`.
type Finding = String;

/// A text file that git tracks or would track.
struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

/// Runs `cargo xtask tidy`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if let [argument, ..] = arguments {
        return Err(format!("no option `{argument}`: usage: cargo xtask tidy"));
    }
    let sources = sources(&paths::repository())?;
    let packages = workspace::packages()?;
    let mut findings = walls::check(&packages);
    findings.extend(sources.iter().flat_map(sources::check));
    findings.extend(links::check(&sources));
    findings.extend(tree::check()?);
    for line in sources::long_files(&sources) {
        eprintln!("note: {line}");
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        eprintln!(
            "tidy: {} files, {} packages, no findings",
            sources.len(),
            packages.len()
        );
        Ok(())
    } else {
        Err(format!("tidy: {} findings", findings.len()))
    }
}

/// All text files that are tracked, or new and not ignored.
fn sources(repository: &Path) -> Result<Vec<Source>, String> {
    let mut git = Command::new("git");
    git.current_dir(repository);
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let names = command::output(&mut git)?;
    let mut sources = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // A file that was deleted but not yet committed is still listed.
        let Ok(bytes) = std::fs::read(repository.join(name)) else {
            continue;
        };
        // Fixtures made by other tools are bytes, not prose of ours.
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source {
                path: name.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}
