//! `repo` and `volume` on a repository in which something is damaged.

use std::path::{Path, PathBuf};

use crate::repository::Host;
use crate::support::Run;

fn folder(host: &Host) -> PathBuf {
    host.place
        .location()
        .join("plugins/salvor/repository/host-a")
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

/// The one file of a folder of the repository.
fn only(host: &Host, name: &str) -> PathBuf {
    let mut files = std::fs::read_dir(folder(host).join(name)).expect("a folder");
    files.next().expect("a file").expect("a file").path()
}

/// The largest pack, which has the data.
fn data_pack(host: &Host) -> PathBuf {
    let mut packs = Vec::new();
    for shard in std::fs::read_dir(folder(host).join("data")).expect("packs") {
        for pack in std::fs::read_dir(shard.expect("a folder").path()).expect("packs") {
            packs.push(pack.expect("a pack").path());
        }
    }
    packs.sort_by_key(|pack| pack.metadata().expect("a pack").len());
    packs.pop().expect("a pack")
}

/// A host whose directory is backed up, with a file that does not compress.
fn backed_up() -> Host {
    let host = Host::new();
    let noise: Vec<u8> = (0..50_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(host.place.home.path().join("data/noise"), noise).expect("a file");
    host.run("repo init --password-kind machine").expect(0);
    host.run("volume backup data").expect(0);
    host
}

#[test]
fn a_backup_after_a_check_found_damage_restores_and_latest_is_it() {
    let host = backed_up();
    let pack = data_pack(&host);
    flip(&pack);
    host.run("repo check --depth data").expect(7);
    let lost = host.run("volume restore latest lost");
    lost.expect(5);
    assert!(
        lost.err.contains("every snapshot lacks data"),
        "{}",
        lost.err
    );
    host.run("volume backup data").expect(0);
    host.run("volume restore latest back").expect(0);
    let noise = |path: &str| std::fs::read(host.place.home.path().join(path)).expect("a file");
    assert_eq!(noise("back/noise"), noise("data/noise"));
    let checked = host.run("repo check --depth data");
    assert!(checked.expect(0).contains("no damage"), "{}", checked.out);
    let name = pack.file_name().expect("a name").to_string_lossy();
    assert!(checked.err.contains(&*name), "{}", checked.err);
    // A repair takes the pack away from what a check looks at, and nothing is lost by it.
    let repaired = host.run("repo repair --read-data --yes");
    assert!(
        repaired.expect(0).contains("1 damaged pack taken out"),
        "{}",
        repaired.out
    );
    host.run("repo check --depth data").expect(0);
    host.run("repo prune").expect(0);
    host.run("repo prune --grace-days 0").expect(0);
    assert!(!pack.exists());
    let last = host.run("repo check --depth data");
    last.expect(0);
    assert!(!last.err.contains("data/"), "{}", last.err);
}

#[test]
fn after_a_repair_a_check_names_what_is_lost_until_it_is_backed_up_again() {
    let host = backed_up();
    flip(&data_pack(&host));
    let repaired = host.run("repo repair --read-data");
    repaired.expect(5);
    let checked = host.run("repo check --depth data");
    checked.expect(7);
    assert!(checked.err.contains("noise"), "{}", checked.err);
    assert!(!checked.err.contains("name says"), "{}", checked.err);
    // Nothing of the snapshot keeps the others from being pruned.
    host.run("repo prune").expect(0);
    host.run("volume backup data").expect(0);
    host.run("repo check --depth data").expect(0);
    host.run("repo repair").expect(0);
    host.run("repo check --depth data").expect(0);
}

#[test]
fn a_damaged_snapshot_is_listed_and_only_a_prune_waits_for_it() {
    let host = backed_up();
    let damaged = only(&host, "snapshots");
    std::fs::create_dir(host.place.home.path().join("copy")).expect("a folder");
    let mirror = format!(
        "backup-location mirror {} ./copy",
        host.place.location().display()
    );
    host.place.run(&mirror).expect(0);
    let id = damaged.file_name().expect("a name").to_string_lossy();
    let short = &id[..12];
    let whole = std::fs::read(&damaged).expect("a snapshot");
    std::fs::write(&damaged, &whole[..whole.len() / 2]).expect("cut");
    let named = |run: &Run| assert!(run.err.contains(&*id), "{}", run.err);
    let listed = host.run("volume ls latest");
    listed.expect(3);
    named(&listed);
    let backed_up = host.run("volume backup data");
    backed_up.expect(0);
    named(&backed_up);
    host.run("volume ls latest").expect(0);
    host.run("volume restore latest back").expect(0);
    assert_eq!(host.read("back/sub/two"), "two");
    let listed = host.run("repo snapshots");
    assert!(listed.expect(5).contains("damaged"), "{}", listed.out);
    named(&listed);
    let names = host.run("repo snapshots -o name");
    assert_eq!(names.expect(5).lines().count(), 1);
    let json = host.run("repo snapshots -o json");
    let json: serde_json::Value = serde_json::from_str(json.expect(5)).expect("JSON");
    assert_eq!(json[1]["id"], *id);
    assert!(json[1]["damage"].is_string(), "{json}");
    assert!(json[0]["time"].is_string() && json[0].get("damage").is_none());
    let checked = host.run("repo check");
    checked.expect(7);
    assert!(checked.out.contains(short), "{}", checked.out);
    let refused = host.run("repo prune");
    refused.expect(7);
    assert!(refused.err.contains("--set-aside"), "{}", refused.err);
    // It comes back from a copy, also after it was given up.
    host.run("repo repair").expect(5);
    host.run("repo repair --set-aside-snapshots").expect(4);
    host.run("repo repair --set-aside-snapshots --yes")
        .expect(0);
    host.run("repo snapshots").expect(0);
    host.run("repo prune").expect(0);
    let mended = host.run("repo repair --from ./copy");
    assert!(
        mended.expect(0).contains("1 snapshot brought"),
        "{}",
        mended.out
    );
    host.run(&format!("volume ls {short}")).expect(0);
    // Or it is forgotten.
    std::fs::write(&damaged, b"").expect("emptied");
    host.run(&format!("repo forget {short}")).expect(4);
    host.run(&format!("repo forget {short} --yes")).expect(0);
    host.run("repo snapshots").expect(0);
    host.run("repo prune").expect(0);
}

#[test]
fn a_damaged_index_file_and_a_damaged_key_leave_the_rest_working() {
    let host = backed_up();
    let key = "repo key add --new-password-file other --password-kind machine";
    let before = only(&host, "keys");
    host.run(key).expect(0);
    flip(&before);
    let listed = host.with("other", "repo key list");
    assert!(listed.expect(0).contains("damaged"), "{}", listed.out);
    let name = before.file_name().expect("a name").to_string_lossy();
    host.with("other", &format!("repo key remove {} --yes", &name[..12]))
        .expect(0);
    let run = |line: &str| host.with("other", line);
    let index = only(&host, "index");
    flip(&index);
    let warned = run("volume backup data");
    warned.expect(0);
    assert!(warned.err.contains("repo repair"), "{}", warned.err);
    run("volume restore latest back").expect(0);
    run("repo check").expect(7);
    run("repo prune").expect(7);
    run("repo repair").expect(0);
    run("repo check --depth data").expect(0);
    run("repo prune").expect(0);
}

#[test]
fn a_flag_that_says_what_opens_wins_over_the_environment() {
    let host = Host::new();
    let run = |variables: &[(&str, &str)], line: &str| -> Run {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = host.place.command(&words);
        for (name, value) in variables {
            command.env(name, value);
        }
        command.output().expect("it runs").into()
    };
    let (password, key) = (
        ("SALVOR_PASSWORD_FILE", "password"),
        ("SALVOR_KEY_FILE", "key"),
    );
    host.place.run("repo key generate key").expect(0);
    run(&[password], "repo init --domain ns-a --key-file key").expect(0);
    run(&[key], "repo snapshots --domain ns-a").expect(0);
    run(&[password], "repo snapshots --domain ns-a").expect(4);
    run(
        &[password, key],
        "repo snapshots --domain ns-a --key-file key",
    )
    .expect(0);
    run(
        &[key],
        "repo init --domain ns-b --password-kind machine --password-file password",
    )
    .expect(0);
    run(&[password], "repo snapshots --domain ns-b").expect(0);
    let both = run(&[password, key], "repo snapshots --domain ns-b");
    both.expect(2);
    for (name, _) in [password, key] {
        assert!(both.err.contains(name), "{}", both.err);
    }
    let flags = "repo snapshots --domain ns-a --key-file key --password-file password";
    run(&[], flags).expect(2);
}
