//! The program `age` opens what we write, and we open what it wrote.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::age::{content, identity, open, open_object, seal, seal_object};

/// Runs `age` with bytes on its standard input; `None` when it is not there.
fn age(program: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("age begins");
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("age ends");
    writer
        .join()
        .expect("no panic")
        .expect("age reads all of it");
    assert!(output.status.success(), "age {arguments:?}");
    output.stdout
}

#[test]
fn age_opens_what_we_write_and_we_open_what_it_wrote() {
    let Some(program) = salvor_testkit::required_path("SALVOR_AGE") else {
        return;
    };
    let (me, other) = (identity(), identity());
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("# ours\n{}\n", me.to_text().expose())).expect("a file");
    let keys = keys.to_str().expect("a path");
    let to = [other.recipient(), me.recipient()];
    let (first, second) = (to[0].to_string(), to[1].to_string());
    for length in [0, 5, 65_536, 200_000] {
        let bytes = content(length);
        let sealed = seal(&to, &bytes, 30_000);
        let theirs = age(&program, &["--decrypt", "--identity", keys], &sealed);
        assert!(theirs == bytes, "{length}");
        // An object is what `age -d | zstd -d` makes of it.
        let (object, _) = seal_object(&to, &bytes);
        let theirs = age(&program, &["--decrypt", "--identity", keys], &object);
        let plain = zstd::decode_all(theirs.as_slice()).expect("zstd");
        assert!(plain == bytes, "{length}");
        let made = age(
            &program,
            &["--recipient", &first, "--recipient", &second],
            &bytes,
        );
        let ours = open(std::slice::from_ref(&me), &made, 8_000).expect("opens");
        assert!(ours == bytes, "{length}");
        let compressed = zstd::encode_all(bytes.as_slice(), 3).expect("zstd");
        let made = age(&program, &["--recipient", &second], &compressed);
        let (ours, digests) = open_object(std::slice::from_ref(&me), &made, 8_000).expect("opens");
        assert!(
            ours == bytes && digests.content_size == length as u64,
            "{length}"
        );
    }
}
