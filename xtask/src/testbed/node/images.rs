//! The images that a node has from the beginning, made of Debian's static busybox: nothing can be pulled.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::image::architecture;
use crate::image::archive::Entry;
use crate::image::layout::Image;
use crate::{command, paths};

/// What holds the namespaces of a pod.
pub(super) const PAUSE: &str = "localhost/pause:1";
/// A shell and its tools.
pub(super) const BUSYBOX: &str = "localhost/busybox:1";

const PROGRAM: &str = "/bin/busybox";

/// Writes the archives of both below `folder`.
///
/// # Errors
/// busybox is not installed, or a file cannot be written.
pub(super) fn make(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let bytes = std::fs::read(PROGRAM).map_err(|error| format!("read {PROGRAM}: {error}"))?;
    let applets = command::output(Command::new(PROGRAM).arg("--list"))?;
    let mut entries = vec![
        Entry::folder("bin", 0o755),
        Entry::file("bin/busybox", 0o755, bytes),
        Entry::folder("etc", 0o755),
        Entry::file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n".to_vec()),
        Entry::folder("tmp", 0o1777),
    ];
    let links = applets.lines().filter(|name| *name != "busybox");
    entries.extend(links.map(|name| Entry::link(&format!("bin/{name}"), "busybox")));
    paths::create_folder(folder)?;
    let mut archives = Vec::new();
    for (tag, entrypoint) in [
        // Signals do not end it: as the first process of its namespace it would have to ask for them.
        (PAUSE, json!([PROGRAM, "sleep", "1000000000"])),
        (BUSYBOX, json!([PROGRAM, "sh"])),
    ] {
        let image = Image {
            architecture: architecture(std::env::consts::ARCH)?,
            tag,
            config: json!({"Entrypoint": entrypoint, "Env": ["PATH=/bin"]}),
            entries: &entries,
        };
        let name = tag.trim_start_matches("localhost/").replace(':', "-");
        let archive = folder.join(format!("{name}.tar"));
        image.write_docker(&archive)?;
        archives.push(archive);
    }
    Ok(archives)
}
