//! What a node takes of the machine, of which there is one: addresses, cgroups, settings of the kernel, folders
//! with fixed names. All of it is given back, also when the node was killed.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{ADDRESS, API_SERVER, CGROUP, FOLDERS, NETWORK};
use crate::testbed::process::{self, Process};
use crate::{Outcome, command, paths};

/// Names the folder of the test bed that has the node.
const CLAIM: &str = "/run/salvor-testbed-node";

/// What kubelet and the network plugin set without asking.
const SETTINGS: &[&str] = &[
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Takes the machine's node for the test bed in `folder`, which must be absolute.
///
/// # Errors
/// Another test bed has it; the message says which, and how to stop it.
pub(super) fn claim(folder: &Path) -> Outcome {
    loop {
        let failed = |error: std::io::Error| format!("write {CLAIM}: {error}");
        match File::create_new(CLAIM) {
            Ok(mut file) => {
                return file
                    .write_all(folder.as_os_str().as_encoded_bytes())
                    .map_err(failed);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let owner = PathBuf::from(paths::read(Path::new(CLAIM))?);
        if owner == folder {
            return Ok(());
        }
        if let Some(name) = running(&owner) {
            let told = owner.file_name().unwrap_or_default().to_string_lossy();
            let parent = owner.parent().unwrap_or(Path::new("/")).display();
            return Err(format!(
                "a machine has room for one node, and test bed `{told}` has it ({name} runs in {}): \
                 stop it with `cargo xtask testbed down --name {told} --dir {parent}`",
                owner.display()
            ));
        }
        // Its machine was restarted, or somebody deleted its folder.
        clean(&owner)?;
    }
}

fn running(folder: &Path) -> Option<&'static str> {
    ["containerd", "kubelet", "kube-apiserver"]
        .into_iter()
        .find(|name| Process { folder, name }.is_running())
}

/// Notes what is about to change, and adds the addresses.
pub(super) fn prepare(folder: &Path) -> Outcome {
    let mut notes = String::new();
    for name in SETTINGS {
        if let Ok(value) = std::fs::read_to_string(setting(name)) {
            notes.push_str(&format!("{name} {}\n", value.trim()));
        }
    }
    for (_, place) in FOLDERS
        .iter()
        .filter(|(_, place)| !Path::new(place).exists())
    {
        notes.push_str(&format!("{place}\n"));
    }
    paths::write(&notes_file(folder), &notes)?;
    for (_, place) in FOLDERS {
        paths::create_folder(Path::new(place))?;
    }
    for hierarchy in hierarchies() {
        // The kubelet wants to find it in each.
        paths::create_folder(&below(&hierarchy))?;
    }
    for address in [ADDRESS, API_SERVER.0] {
        // One that is there is replaced by itself.
        ip(&["address", "replace", &format!("{address}/32"), "dev", "lo"])?;
    }
    Ok(())
}

/// Ends what is left of the node's processes and gives everything back.
///
/// # Errors
/// Something does not go; the claim stays, so that the next one tries again.
pub(super) fn clean(folder: &Path) -> Outcome {
    let owner = std::fs::read(CLAIM).unwrap_or_default();
    if !owner.is_empty() && owner != folder.as_os_str().as_encoded_bytes() {
        // Another one found this one dead, cleaned up after it, and has what it finds there now.
        return Ok(());
    }
    command::wait_until("the end of the containers", Duration::from_secs(30), || {
        let left = processes(folder)?;
        for pid in &left {
            process::signal_process("KILL", *pid);
        }
        Ok(left.is_empty())
    })?;
    for cgroup in cgroups() {
        remove_cgroup(&cgroup)?;
    }
    let links = command::output(Command::new("ip").args(["-oneline", "link", "show"]))?;
    if links.contains(&format!(" {NETWORK}:")) {
        ip(&["link", "delete", NETWORK])?;
    }
    let addresses = command::output(Command::new("ip").args(["address", "show", "dev", "lo"]))?;
    for address in [ADDRESS, API_SERVER.0] {
        if addresses.contains(&format!(" {address}/32 ")) {
            ip(&["address", "delete", &format!("{address}/32"), "dev", "lo"])?;
        }
    }
    restore(&std::fs::read_to_string(notes_file(folder)).unwrap_or_default())?;
    match std::fs::remove_file(CLAIM) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("remove {CLAIM}: {error}"))
        }
        _ => Ok(()),
    }
}

/// Sets the settings back and removes the folders that were made, those that nobody used meanwhile.
fn restore(notes: &str) -> Outcome {
    for note in notes.lines() {
        let Some((name, value)) = note.split_once(' ') else {
            // Not empty: then it is somebody else's too.
            let _ = std::fs::remove_dir(note);
            continue;
        };
        let file = setting(name);
        let now = std::fs::read_to_string(&file).unwrap_or_default();
        if now.trim() != value {
            paths::write(&file, value)?;
        }
    }
    Ok(())
}

/// What was started by containerd or the kubelet, and what runs in containers.
fn processes(folder: &Path) -> Result<Vec<u32>, String> {
    let entries = std::fs::read_dir("/proc").map_err(|error| format!("list /proc: {error}"))?;
    let numbers = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = numbers
        .filter(|pid| is_shim(*pid) && process::is_of(folder, *pid))
        .collect();
    for cgroup in cgroups() {
        found.extend(members(&cgroup));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The servers of the test bed have the same mark and are stopped one by one.
fn is_shim(pid: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The kernel keeps 15 bytes of a name.
    name.starts_with("containerd-shim")
}

/// The cgroup of the pods in each hierarchy.
fn cgroups() -> Vec<PathBuf> {
    let found = hierarchies().into_iter().map(|hierarchy| below(&hierarchy));
    found.filter(|cgroup| cgroup.is_dir()).collect()
}

/// Where the kernel shows cgroups: one folder of version 2, or one for each controller of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    match root.join("cgroup.controllers").is_file() {
        true => vec![root],
        false => folders(&root),
    }
}

fn below(hierarchy: &Path) -> PathBuf {
    hierarchy.join(CGROUP.trim_start_matches('/'))
}

fn members(cgroup: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.parse().ok());
    own.chain(folders(cgroup).iter().flat_map(|child| members(child)))
        .collect()
}

fn remove_cgroup(cgroup: &Path) -> Outcome {
    for child in folders(cgroup) {
        remove_cgroup(&child)?;
    }
    match std::fs::remove_dir(cgroup) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("remove cgroup {}: {error}", cgroup.display()))
        }
        _ => Ok(()),
    }
}

/// Folders in a folder, without symbolic links.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn ip(arguments: &[&str]) -> Outcome {
    command::output(Command::new("ip").args(arguments)).map(drop)
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Outside the folder `node`, which goes with the node.
fn notes_file(folder: &Path) -> PathBuf {
    folder.join("machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_were_made_go_and_used_ones_stay() {
        let folder = std::env::temp_dir().join(format!("xtask-machine-{}", std::process::id()));
        let (empty, used) = (folder.join("empty"), folder.join("used"));
        for path in [&empty, &used] {
            std::fs::create_dir_all(path).expect("a folder");
        }
        std::fs::write(used.join("file"), "").expect("written");
        let notes = format!("{}\n{}\n", empty.display(), used.display());
        restore(&notes).expect("restored");
        assert!(!empty.exists() && used.exists());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
