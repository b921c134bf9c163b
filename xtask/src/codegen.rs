//! `cargo xtask codegen`: writes the committed table of built-in Kubernetes kinds.
//!
//! Input: the published Go modules that define the Kubernetes API (`source`), read with a small
//! parser for their type declarations (`golang`), plus the few facts that exist only inside the
//! API server itself (`curated`). Output: `crates/apiserver/data/kinds.json` (what discovery says)
//! and `types.json` (how fields merge), and `crates/etcd/data/messages.json` (how objects lie in
//! etcd). `docs/formats/kinds-table.md` describes all three.
//!
//! A normal build reads the committed files and never runs this.

mod curated;
mod golang;
mod kinds;
mod lifecycle;
mod messages;
mod source;
mod table;
mod types;

use crate::{Outcome, paths};
use std::fs;

const USAGE: &str = "usage: cargo xtask codegen [--check]\n\n\
    Without an option the files are written; with --check the task fails when they differ.";

/// Writes the generated files, or with `--check` compares them with what would be written.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let check = match arguments {
        [] => false,
        [option] if option == "--check" => true,
        _ => return Err(format!("unknown arguments {arguments:?}\n\n{USAGE}")),
    };
    let modules = source::modules()?;
    let packages = modules.packages()?;
    let kinds = kinds::collect(&packages)?;
    let types = types::collect(&packages, &kinds)?;
    let mut messages = messages::collect(&packages, &kinds)?;
    let mut older = source::older()?.packages()?;
    // Types that all releases share come from the newest.
    let shared = "k8s.io/apimachinery/";
    older.extend(
        packages
            .into_iter()
            .filter(|one| one.import.starts_with(shared)),
    );
    messages.add_missing(messages::collect(&older, &kinds)?);
    let files = [
        ("apiserver/data/kinds.json", table::kinds_file(&kinds)),
        ("apiserver/data/types.json", table::types_file(&types)),
        ("etcd/data/messages.json", table::messages_file(&messages)),
    ];
    let mut stale = Vec::new();
    for (name, text) in files {
        let path = paths::repository().join("crates").join(name);
        serde_json::from_str::<serde_json::Value>(&text)
            .map_err(|error| format!("{name} would not be valid JSON: {error}"))?;
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
        } else {
            fs::write(&path, &text)
                .map_err(|error| format!("write {}: {error}", path.display()))?;
            println!("wrote {} ({} bytes)", path.display(), text.len());
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!(
        "generated files are out of date: {}; run `cargo xtask codegen` and commit the result",
        stale.join(", ")
    ))
}
