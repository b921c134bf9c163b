//! Archives as other programs wrote them, and what is found in them.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use salvor_archive::archive::Archive;
use salvor_archive::limits::Limits;
use salvor_archive::{ArchiveError, Expected, verify};

use crate::handmade::{Tar, body_for, gzip};

/// Reads the archive and shows its entries and findings; a verification finds the same.
fn read(file: &[u8]) -> String {
    let (archive, findings) = match Archive::from_stream(file, Limits::default(), Vec::new()) {
        Ok(read) => read,
        Err(error) => {
            let same = verify(file, Expected::default(), &Limits::default()).expect_err("as well");
            assert_eq!(error.to_string(), same.to_string());
            return format!("error: {error}\n");
        }
    };
    let verified = verify(file, Expected::default(), &Limits::default()).expect("as well");
    assert_eq!(verified, findings);
    let mut text = format!("format {:?}\n", findings.format_version);
    for entry in archive.index().iter() {
        let preferred = if entry.preferred() { "*" } else { "" };
        let body = archive.get(&entry).expect("what was indexed can be read");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let note = body["note"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "{} {}{preferred} {note}",
            entry.key(),
            entry.version()
        );
    }
    for finding in &findings.list {
        let _ = writeln!(text, "{:?} {finding}", finding.severity());
    }
    text
}

fn check(tar: &Tar, expected: &Expect) {
    let whole = read(&tar.gz());
    expected.assert_eq(&whole);
    assert_eq!(read(&tar.gz_members(700)), whole, "in many gzip members");
}

fn object(tar: Tar, path: &str, api_version: &str, note: &str) -> Tar {
    tar.file(path, body_for(path, api_version, note).as_bytes())
}

#[test]
fn reads_format_1_without_version_directories() {
    let tar = Tar::default().file("metadata/version", b"1\n");
    let tar = object(tar, "resources/pods/namespaces/a/x.json", "v1", "");
    let tar = object(
        tar,
        "resources/deployments.apps/namespaces/a/x.json",
        "apps/v1",
        "",
    );
    let tar = object(tar, "resources/namespaces/cluster/a.json", "v1", "");
    check(
        &tar,
        &expect![[r#"
            format Some("1")
            deployments.apps a/x v1* 
            namespaces a v1* 
            pods a/x v1* 
        "#]],
    );
}

#[test]
fn reads_pairs_in_any_order_and_counts_each_item_once() {
    let plain = "resources/deployments.apps/namespaces/a/x.json";
    let copy = "resources/deployments.apps/v1-preferredversion/namespaces/a/x.json";
    let other = "resources/deployments.apps/v1beta1/namespaces/a/x.json";
    let tar = object(Tar::velero(), copy, "apps/v1", "");
    let tar = object(tar, other, "apps/v1beta1", "old");
    let tar = object(tar, plain, "apps/v1", "");
    let second = "resources/pods/namespaces/a/y.json";
    let tar = object(tar, second, "v1", "");
    let tar = object(
        tar,
        "resources/pods/v1-preferredversion/namespaces/a/y.json",
        "v1",
        "",
    );
    check(
        &tar,
        &expect![[r#"
            format Some("1.1.0")
            deployments.apps a/x v1* 
            deployments.apps a/x v1beta1 old
            pods a/y v1* 
        "#]],
    );
}

#[test]
fn the_version_directory_beats_the_api_version_inside() {
    let plain = "resources/customresourcedefinitions.apiextensions.k8s.io/cluster/x.json";
    let copy = "resources/customresourcedefinitions.apiextensions.k8s.io/v1-preferredversion/cluster/x.json";
    let tar = object(
        Tar::velero(),
        plain,
        "apiextensions.k8s.io/v1beta1",
        "remapped",
    );
    let tar = object(tar, copy, "apiextensions.k8s.io/v1beta1", "remapped");
    check(
        &tar,
        &expect![[r#"
            format Some("1.1.0")
            customresourcedefinitions.apiextensions.k8s.io x v1* remapped
        "#]],
    );
}

#[test]
fn the_last_of_equal_paths_counts_and_the_unversioned_one_beats_its_copy() {
    let plain = "resources/pods/namespaces/a/x.json";
    let copy = "resources/pods/v1-preferredversion/namespaces/a/x.json";
    let tar = object(Tar::velero(), plain, "v1", "first");
    let tar = object(tar, copy, "v1", "first");
    let tar = object(tar, plain, "v1", "second");
    let tar = object(
        tar,
        "resources/secrets/v1-preferredversion/namespaces/a/only.json",
        "v1",
        "",
    );
    let tar = object(
        tar,
        "resources/secrets/v1/namespaces/a/only.json",
        "v1",
        "again",
    );
    check(
        &tar,
        &expect![[r#"
            format Some("1.1.0")
            pods a/x v1* second
            secrets a/only v1* 
            Warning pods a/x: differs from the unversioned entry, which counts
            Warning pods a/x: occurs more than once, the last one counts
            Warning secrets a/only: occurs more than once, the last one counts
        "#]],
    );
}

#[test]
fn reads_long_names_of_every_dialect() {
    let name = "n".repeat(253);
    let path = |ns: &str| format!("resources/x.example.io/namespaces/{ns}/{name}.json");
    let body = |ns: &str| body_for(&path(ns), "example.io/v1", ns).into_bytes();
    let short = "resources/x.example.io/namespaces/v7/short.json";
    let tar = Tar::velero()
        .gnu_long(&path("gnu"), &body("gnu"))
        .pax_long(&path("pax"), &body("pax"))
        .v7(short, body_for(short, "example.io/v1", "v7").as_bytes());
    let dir = format!("resources/x.example.io/namespaces/{}", "p".repeat(63));
    let file = format!("{}.json", "q".repeat(90));
    let whole = format!("{dir}/{file}");
    let prefixed = body_for(&whole, "example.io/v1", "prefix");
    let tar = tar.prefixed(&dir, &file, prefixed.as_bytes());
    let shown = read(&tar.gz());
    let notes: Vec<_> = shown
        .lines()
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    assert_eq!(
        notes,
        ["Some(\"1.1.0\")", "gnu", "pax", "prefix", "v7"],
        "{shown}"
    );
}

#[test]
fn refuses_dangerous_entries_and_keeps_the_rest() {
    let tar = Tar::velero()
        .object("resources/pods/namespaces/a/good.json")
        .object("../../etc/cron.d/evil.json")
        .object("resources/pods/namespaces/../../../evil.json")
        .object("/resources/pods/namespaces/a/absolute.json")
        .object("resources/pods/namespaces/a/back\\slash.json")
        .object("resources//pods/namespaces/a/empty.json")
        .object("resources/pods/namespaces/a/esc\u{1b}[31m.json")
        .entry("resources/pods/namespaces/a/symlink.json", b'2', b"")
        .entry("resources/pods/namespaces/a/hardlink.json", b'1', b"")
        .entry("resources/pods/namespaces/a/fifo.json", b'6', b"")
        .entry("resources/pods/namespaces/a/sparse.json", b'S', b"data")
        .entry("../outside/", b'5', b"")
        .gnu_long("resources/pods/namespaces/a/\u{0}cut.json", b"{}")
        .entry("resources/pods/", b'5', b"")
        .entry("./", b'5', b"")
        .object("./resources/pods/namespaces/a/packed-again.json")
        .file("notes.txt", b"hello");
    check(
        &tar,
        &expect![[r#"
            format Some("1.1.0")
            pods a/good v1* 
            pods a/packed-again v1* 
            Error ../../etc/cron.d/evil.json: refused: it leads outside of its folder
            Error resources/pods/namespaces/../../../evil.json: refused: it leads outside of its folder
            Error /resources/pods/namespaces/a/absolute.json: refused: it is absolute
            Error resources/pods/namespaces/a/back\slash.json: refused: a segment contains a slash or backslash
            Error resources//pods/namespaces/a/empty.json: refused: a segment is empty
            Error resources/pods/namespaces/a/esc�[31m.json: refused: it contains a control character
            Error resources/pods/namespaces/a/symlink.json: refused: it is a link
            Error resources/pods/namespaces/a/hardlink.json: refused: it is a link
            Error resources/pods/namespaces/a/fifo.json: refused: it is neither a file nor a directory
            Error resources/pods/namespaces/a/sparse.json: refused: it is neither a file nor a directory
            Error ../outside/: refused: it leads outside of its folder
            Info notes.txt: ignored, it is no item
        "#]],
    );
}

#[test]
fn bodies_that_are_no_objects_are_left_out() {
    let at = |name: &str| format!("resources/pods/namespaces/a/{name}.json");
    let tar = Tar::velero()
        .file(&at("array"), b"[1, 2]")
        .file(&at("text"), b"\"{}\"")
        .file(&at("empty"), b"")
        .file(&at("cut"), br#"{"apiVersion":"v1","meta"#)
        .file(&at("two"), b"{}{}")
        .file(&at("bytes"), b"{\"a\":\"\xff\"}")
        .file(&at("odd"), br#"{"apiVersion":1,"metadata":{"name":"odd"}}"#)
        .file(&at("no-version"), br#"{"metadata":{"name":"no-version"}}"#)
        .file(
            &at("other"),
            br#"{"apiVersion":"v1","metadata":{"name":"else","namespace":"b"}}"#,
        );
    check(
        &tar,
        &expect![[r#"
            format Some("1.1.0")
            pods a/other v1* 
            Error resources/pods/namespaces/a/array.json: left out, it is not a JSON object: it does not begin with `{`
            Error resources/pods/namespaces/a/text.json: left out, it is not a JSON object: it does not begin with `{`
            Error resources/pods/namespaces/a/empty.json: left out, it is not a JSON object: it does not begin with `{`
            Error resources/pods/namespaces/a/cut.json: left out, it is not a JSON object: EOF while parsing a string at line 1 column 24
            Error resources/pods/namespaces/a/two.json: left out, it is not a JSON object: trailing characters at line 1 column 3
            Error resources/pods/namespaces/a/bytes.json: left out, it is not a JSON object: invalid utf-8 sequence of 1 bytes from index 6
            Error resources/pods/namespaces/a/odd.json: left out, it is not a JSON object: invalid type: integer `1`, expected a string at line 1 column 15
            Warning resources/pods/namespaces/a/other.json: its body names `b/else`, the path counts
            Error pods a/no-version: left out, neither a directory nor its apiVersion names a version
        "#]],
    );
}

#[test]
fn says_what_is_missing_around_the_items() {
    check(
        &Tar::velero(),
        &expect![[r#"
        format Some("1.1.0")
        Warning there is no resources/ directory, the archive holds no items
    "#]],
    );
    check(
        &Tar::default().object("resources/pods/namespaces/a/x.json"),
        &expect![[r#"
        format None
        pods a/x v1* 
        Warning metadata/version is missing, read as format 1
    "#]],
    );
    let no_marker = gzip(&Tar::velero().object("resources/pods/namespaces/a/x.json").0);
    expect![[r#"
        format Some("1.1.0")
        pods a/x v1* 
        Warning the end-of-archive marker is missing
    "#]]
    .assert_eq(&read(&no_marker));
    let mut after = Tar::velero().object("resources/pods/namespaces/a/x.json");
    after.0.extend_from_slice(&[0; 1024]);
    let after = after.object("resources/pods/namespaces/a/unseen.json");
    check(
        &after,
        &expect![[r#"
        format Some("1.1.0")
        pods a/x v1* 
        Warning there are bytes after the end-of-archive marker
    "#]],
    );
}

#[test]
fn refuses_formats_of_the_future() {
    for version in ["2\n", "1", "1.2.0\n", "10\n", "", "2.0.0"] {
        let tar = Tar::default().file("metadata/version", version.as_bytes());
        let read = Archive::from_stream(tar.gz().as_slice(), Limits::default(), Vec::new());
        let known = matches!(version.trim(), "1" | "1.2.0");
        assert_eq!(read.is_ok(), known, "{version:?}");
        if let Err(error) = read {
            assert!(
                matches!(error, ArchiveError::UnsupportedFormat { .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn findings_are_bounded_but_counted() {
    let mut tar = Tar::velero();
    for n in 0..1500 {
        tar = tar.object(&format!("resources/pods/../{n}.json"));
    }
    let (_, findings) =
        Archive::from_stream(tar.gz().as_slice(), Limits::default(), Vec::new()).expect("readable");
    assert_eq!(findings.list.len(), 1000);
    let errors = findings.count(salvor_archive::findings::Severity::Error);
    assert_eq!(errors, 1500);
}
