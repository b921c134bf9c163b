//! What one engine writes, the others check and restore.

use std::path::Path;
use std::process::Command;

use crate::data::{self, Noise};
use crate::{Bench, Outcome};

/// Prints everything that has to come back of every entry, in one order, and the digest of that.
const SURVEY: &str = "cd \"$0\" && { find . -mindepth 1 -printf '%P %y %m %U:%G %T@ %l\\n' | LC_ALL=C sort; \
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum";

/// Files of a folder.
const IN_EACH: usize = 500;

/// So many small files, there and back between all engines.
pub(crate) fn run(bench: &Bench, work: &Path, tree: &Path, files: usize) -> Outcome<()> {
    for i in 0..files {
        let path = tree.join(format!("{:04}/{i}", i / IN_EACH));
        data::write(&path, &mut Noise(i as u64 + 1), 20 + i % 300)?;
    }
    let wanted = survey(tree)?;
    for writer in 0..bench.engines() {
        let repository = work.join(format!("repository-{writer}"));
        std::fs::create_dir_all(&repository)?;
        let mut said = Vec::new();
        for action in ["init", "backup"] {
            let used = bench.step(writer, action, &repository, tree)?;
            said.push(format!("{action} {:.1} s", used.wall.as_secs_f64()));
        }
        for reader in 0..bench.engines() {
            let checked = bench.step(reader, "check", &repository, tree)?;
            let back = work.join("back");
            let restored = bench.step(reader, "restore", &repository, &back)?;
            // restic keeps the whole path of what it was given.
            let inside = if writer == 0 {
                back.clone()
            } else {
                back.join(tree.strip_prefix("/")?)
            };
            if survey(&inside)? != wanted {
                return Err(format!(
                    "what {} wrote came back otherwise by {}",
                    bench.name(writer),
                    bench.name(reader)
                )
                .into());
            }
            std::fs::remove_dir_all(&back)?;
            said.push(format!(
                "by {}: check of all data {:.1} s, restore {:.1} s",
                bench.name(reader),
                checked.wall.as_secs_f64(),
                restored.wall.as_secs_f64()
            ));
        }
        println!(
            "- {files} files, written by {}: {}",
            bench.name(writer),
            said.join("; ")
        );
        std::fs::remove_dir_all(&repository)?;
    }
    Ok(())
}

fn survey(folder: &Path) -> Outcome<String> {
    let output = Command::new("sh")
        .args(["-c", SURVEY])
        .arg(folder)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
