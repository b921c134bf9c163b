//! Providers that break the contract: each is an error of the right kind, in time, and says whether a write may have
//! happened.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use salvor_extension_store::open;
use salvor_storage::{ErrorKind, GetOptions, Key, ObjectStore, PutMode, Result, StoreUrl};

use crate::example::{NAME, providers};

/// A store whose provider reads its question and then runs a script.
fn store(script: &str) -> Arc<dyn ObjectStore> {
    let script = format!("cat >/dev/null; {script}").replace('\'', "''");
    let exec = format!("exec: {{command: [/bin/sh, -c, '{script}']}}");
    let url = StoreUrl::parse(&format!("extension://b?provider={NAME}")).expect("valid");
    open(&url, &providers(&exec, "700ms")).expect("a provider")
}

fn key() -> Key {
    Key::new("a").expect("a key")
}

async fn read(script: &str) -> Result<Bytes> {
    let object = store(script).get(&key(), GetOptions::default()).await?;
    object.bytes(1 << 20).await
}

const HEAD: &str = r#"echo '{"version":"v1","result":{"key":"a","size":3},"body":true}'"#;
/// SHA-256 of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn end(bytes: u64, sha256: &str) -> String {
    format!(r#"printf '0\n{{"complete":true,"bytes":{bytes},"sha256":"{sha256}"}}\n'"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_counts_only_when_it_is_whole() {
    let abc = r"printf '3\nabc'";
    let whole = read(&format!("{HEAD}; {abc}; {}", end(3, ABC))).await;
    assert_eq!(whole.expect("whole"), "abc");
    let longer = HEAD.replace("3}", "4}");
    let shorter = HEAD.replace("3}", "2}");
    let other = HEAD.replace(r#""a""#, r#""b""#);
    let cases = [
        (format!("{HEAD}; {abc}"), ErrorKind::Transient),
        (format!("{HEAD}; printf '5\\nab'"), ErrorKind::Transient),
        (
            format!("{HEAD}; {abc}; {}", end(3, "00")),
            ErrorKind::Corrupt,
        ),
        (
            format!("{HEAD}; {abc}; {}", end(4, ABC)),
            ErrorKind::Corrupt,
        ),
        (
            format!("{HEAD}; {abc}; {}; echo more", end(3, ABC)),
            ErrorKind::Corrupt,
        ),
        (
            format!("{HEAD}; {abc}; {}; exit 3", end(3, ABC)),
            ErrorKind::Other,
        ),
        (format!("{HEAD}; printf -- '-3\\nabc'"), ErrorKind::Corrupt),
        (
            format!("{HEAD}; printf '99999999999\\nabc'"),
            ErrorKind::Corrupt,
        ),
        (format!("{HEAD}; printf '%%'; exec yes"), ErrorKind::Corrupt),
        (
            format!("{HEAD}; {abc}; exec sleep 60"),
            ErrorKind::Transient,
        ),
        (
            format!("{longer}; {abc}; {}", end(3, ABC)),
            ErrorKind::Corrupt,
        ),
        (
            format!("{shorter}; {abc}; {}", end(3, ABC)),
            ErrorKind::Corrupt,
        ),
        (
            format!("{other}; {abc}; {}", end(3, ABC)),
            ErrorKind::Corrupt,
        ),
        ("exec sleep 60".to_owned(), ErrorKind::Transient),
        ("exit 1".to_owned(), ErrorKind::Other),
        ("echo nonsense".to_owned(), ErrorKind::Corrupt),
        (r#"echo '{"version":"v2"}'"#.to_owned(), ErrorKind::Other),
        (
            r#"echo '{"version":"v1","result":{"key":"a","size":3}}'"#.to_owned(),
            ErrorKind::Corrupt,
        ),
    ];
    for (script, kind) in cases {
        let error = read(&script).await.expect_err("it breaks the contract");
        assert_eq!(error.kind, kind, "{script}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_says_whether_it_may_have_happened() {
    let told = |code: &str| {
        format!(r#"echo '{{"version":"v1","error":{{"code":"{code}","message":"m"}}}}'"#)
    };
    for (script, kind, happened) in [
        (told("AlreadyExists"), ErrorKind::AlreadyExists, false),
        (told("Full"), ErrorKind::Full, false),
        (told("Throttled"), ErrorKind::Throttled, false),
        (told("Transient"), ErrorKind::Transient, true),
        (told("Other"), ErrorKind::Other, true),
        ("exec sleep 60".to_owned(), ErrorKind::Transient, true),
        ("exit 7".to_owned(), ErrorKind::Other, true),
        (HEAD.replace(",\"body\":true", ""), ErrorKind::Other, true),
    ] {
        let body = Bytes::from_static(b"more than three bytes");
        let put = store(&script).put(&key(), body, PutMode::Create).await;
        let error = put.expect_err("it fails");
        assert_eq!(
            (error.kind, error.may_have_happened()),
            (kind, happened),
            "{script}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_cannot_go_astray_or_on_for_ever() {
    let page = |entries: &str, more: bool| {
        format!(r#"echo '{{"version":"v1","result":{{"entries":[{entries}],"more":{more}}}}}'"#)
    };
    let object = |key: &str| format!(r#"{{"key":"{key}","size":1}}"#);
    let good = page(&format!("{},{}", object("p/a"), object("p/b")), false);
    let listed = store(&good).list("p").await.expect("a listing");
    let listed: Vec<_> = listed.try_collect().await.expect("whole");
    assert_eq!(listed.len(), 2);
    for script in [
        // The same page again and again.
        page(&object("p/a"), true),
        page("", true),
        page(&format!("{},{}", object("p/b"), object("p/a")), false),
        page(&object("q/a"), false),
        page(&object("p/../../x"), false),
        page(r#"{"folder":"p/a/"}"#, false),
        page(r#"{"key":"p/a","size":-1}"#, false),
    ] {
        let whole = async {
            let listed = store(&script).list("p").await?;
            listed.try_collect::<Vec<_>>().await
        };
        let error = whole.await.expect_err("it breaks the contract");
        assert!(
            matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Invalid),
            "{script}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_ends_its_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let note = folder.path().join("pid");
    let script = format!(
        "echo $$ > {}; cat >/dev/null; exec sleep 600",
        note.display()
    );
    let exec = format!("exec: {{command: [/bin/sh, -c, '{script}']}}");
    let url = StoreUrl::parse(&format!("extension://b?provider={NAME}")).expect("valid");
    let store = open(&url, &providers(&exec, "30s")).expect("a provider");
    let mut upload = store.upload(&key(), PutMode::Create).await.expect("begun");
    upload.write(Bytes::from_static(b"x")).await.expect("taken");
    let pid = loop {
        let text = std::fs::read_to_string(&note).unwrap_or_default();
        if text.ends_with('\n') {
            break text.trim().to_owned();
        }
        tokio::task::yield_now().await;
    };
    drop(upload);
    while is_running(&pid) {
        tokio::task::yield_now().await;
    }
}

/// A zombie has ended: who waits for it is another matter.
fn is_running(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn a_location_without_its_provider_is_refused() {
    for url in ["extension://b", "extension://b?provider=example.com/other"] {
        let url = StoreUrl::parse(url).expect("valid");
        let known = providers("exec: {command: ['true']}", "1s");
        let error = open(&url, &known).expect_err("nobody serves it");
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
}
