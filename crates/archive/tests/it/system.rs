//! The system's gzip and GNU tar read what is written here.

use std::process::Command;

use crate::written::{a_few, write};

/// Runs a command; `None`, aloud, when it is not installed.
fn run(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{command:?}: {errors}");
            assert_eq!(errors, "", "{command:?} warned");
            Some(String::from_utf8(output.stdout).expect("text"))
        }
        Err(error) => {
            eprintln!("SKIPPED: {command:?}: {error}");
            None
        }
    }
}

#[test]
fn gnu_tar_and_gzip_read_what_is_written() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("b.tar.gz");
    let items = a_few();
    let (bytes, _) = write(&items, 2);
    std::fs::write(&file, &bytes).expect("write");
    if run(Command::new("gzip").arg("-t").arg(&file)).is_none() {
        return;
    }
    let Some(list) = run(Command::new("tar")
        .arg("--quoting-style=literal")
        .arg("-tzvf")
        .arg(&file))
    else {
        return;
    };
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 1 + 8 * 2 + 1, "{list}");
    assert!(
        lines.iter().all(|line| line.starts_with("-rwxr-xr-x 0/0 ")),
        "{list}"
    );
    assert!(lines[0].ends_with(" metadata/version"), "{list}");
    let too_long = "--exclude=*nnnnnnnnnnnnnnnn*";
    let too_long_too = "--exclude=*mmmmmmmmmmmmmmmm*";
    run(Command::new("tar")
        .args([too_long, too_long_too])
        .arg("-xzf")
        .arg(&file)
        .arg("-C")
        .arg(folder.path()));
    let read = |path: String| std::fs::read(folder.path().join(&path)).expect(&path);
    assert_eq!(read("metadata/version".to_owned()), b"1.1.0\n");
    for item in &items {
        let place = match &item.key.namespace {
            Some(namespace) => format!("namespaces/{namespace}/{}.json", item.key.name),
            None => format!("cluster/{}.json", item.key.name),
        };
        // A file name of 253 and 5 bytes is longer than file systems take, as for Velero itself.
        if item.key.name.len() > 250 {
            continue;
        }
        let (resource, version) = (&item.key.resource, &item.version);
        if item.preferred {
            assert_eq!(read(format!("resources/{resource}/{place}")), item.body);
            assert_eq!(
                read(format!(
                    "resources/{resource}/{version}-preferredversion/{place}"
                )),
                item.body
            );
        } else {
            assert_eq!(
                read(format!("resources/{resource}/{version}/{place}")),
                item.body
            );
        }
    }
}
