//! Where the file system of another container is: through one of its processes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Why the files of the container cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// Processes cannot be listed.
    #[error("list the processes")]
    List(#[source] io::Error),
    /// A process of the container is seen, but not its files.
    #[error(
        "look at the files of process {process}: only its own user may, or root with the capability SYS_PTRACE"
    )]
    Closed {
        /// Its number.
        process: u32,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// None is seen.
    #[error(
        "no process of the container is seen here: its runtime does not share processes with ephemeral containers"
    )]
    None,
}

/// The root of the container with an id. `proc` is where the kernel tells of processes; `shared` says that those of
/// other containers are there as well, so that the first one need not be the container's.
///
/// # Errors
/// See [`RootError`].
pub fn root_of(proc: &Path, id: &str, shared: bool) -> Result<PathBuf, RootError> {
    let mut processes: Vec<u32> = std::fs::read_dir(proc)
        .map_err(RootError::List)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    processes.sort_unstable();
    let of = |process: u32| proc.join(process.to_string());
    // The kernel writes the control groups of all of them, with the container's id in their names.
    let belongs = |process: &u32| {
        let groups = std::fs::read_to_string(of(*process).join("cgroup"));
        !id.is_empty() && groups.is_ok_and(|groups| groups.contains(id))
    };
    let mut found: Vec<u32> = processes.iter().copied().filter(belongs).collect();
    if found.is_empty() && !shared && is_another_container(proc) {
        found.push(1);
    }
    let mut closed = RootError::None;
    for process in found {
        let root = of(process).join("root");
        match open(&root) {
            Ok(_) => return Ok(root),
            Err(source) => closed = RootError::Closed { process, source },
        }
    }
    Err(closed)
}

fn open(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(root, flags, Mode::empty())?)
}

/// Whether the first process has other mounts than we have. Where it cannot be seen it is not ours either.
fn is_another_container(proc: &Path) -> bool {
    let mounts = |process: &str| std::fs::read_link(proc.join(process).join("ns/mnt")).ok();
    mounts("1") != mounts("self")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes with their control group and namespace of mounts; the first part is the number.
    fn proc(processes: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("a folder");
        for (process, group, mounts) in processes {
            let process = proc.path().join(process);
            std::fs::create_dir_all(process.join("ns")).expect("made");
            std::fs::write(process.join("cgroup"), format!("0::{group}\n")).expect("written");
            std::os::unix::fs::symlink(mounts, process.join("ns/mnt")).expect("linked");
            std::fs::create_dir(process.join("root")).expect("made");
        }
        proc
    }

    #[test]
    fn the_container_is_found_by_its_control_group_else_as_the_first_process() {
        let by_group = [
            ("1", "/../pause", "mnt:[1]"),
            ("17", "/../cri-0123.scope", "mnt:[2]"),
            ("self", "/", "mnt:[3]"),
        ];
        let untold = [
            ("1", "/", "mnt:[1]"),
            ("9", "/", "mnt:[3]"),
            ("self", "/", "mnt:[3]"),
        ];
        let alone = [("1", "/", "mnt:[3]"), ("self", "/", "mnt:[3]")];
        for (processes, shared, expected) in [
            (by_group.as_slice(), true, Some("17/root")),
            (by_group.as_slice(), false, Some("17/root")),
            (untold.as_slice(), false, Some("1/root")),
            // It could be that of the pod's pause container.
            (untold.as_slice(), true, None),
            // The first process is ourselves.
            (alone.as_slice(), false, None),
        ] {
            let proc = proc(processes);
            let found = root_of(proc.path(), "0123", shared).ok();
            assert_eq!(
                found,
                expected.map(|root| proc.path().join(root)),
                "{processes:?} {shared}"
            );
        }
    }

    #[test]
    fn a_process_that_is_closed_is_named() {
        let proc = proc(&[("4", "/cri-0123", "mnt:[1]")]);
        std::fs::remove_dir(proc.path().join("4/root")).expect("removed");
        let error = root_of(proc.path(), "0123", false).expect_err("closed");
        assert!(error.to_string().contains("process 4"), "{error}");
    }
}
