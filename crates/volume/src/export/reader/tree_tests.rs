use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use super::super::super::tar_end::TarEnd;
use super::*;

/// Packs, looks that it is a whole archive, and unpacks it with the tar of this machine.
fn packed(root: &Path, path: &str) -> (Packed, tempfile::TempDir) {
    let mut archive = Vec::new();
    let packed = pack(root, path, &mut archive).expect("packed");
    let mut end = TarEnd::default();
    end.feed(&archive).expect("an archive");
    assert!(end.is_complete());
    let into = tempfile::tempdir().expect("a folder");
    let file = into.path().join("archive");
    std::fs::write(&file, &archive).expect("written");
    let out = into.path().join("out");
    std::fs::create_dir(&out).expect("made");
    let mut tar = Command::new("tar");
    tar.arg("-xpf").arg(&file).arg("-C").arg(&out);
    assert!(tar.status().expect("tar runs").success());
    (packed, into)
}

fn same(one: &Path, other: &Path) {
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([one, other])
        .output()
        .expect("diff runs");
    assert!(diff.status.success(), "{diff:?}");
}

#[test]
fn an_archive_has_every_kind_of_entry_as_it_was() {
    let root = tempfile::tempdir().expect("a folder");
    let data = root.path().join("var/data");
    std::fs::create_dir_all(data.join("sub/empty")).expect("made");
    let noise: Vec<u8> = (0..300_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(data.join("large"), noise).expect("written");
    std::fs::write(data.join("block"), [7; BLOCK]).expect("written");
    std::fs::write(data.join("nothing"), "").expect("written");
    let mode = std::fs::Permissions::from_mode(0o4710);
    std::fs::set_permissions(data.join("block"), mode).expect("set");
    for name in [
        "x".repeat(99),
        "y".repeat(180),
        "이름".to_owned(),
        "a\nb".to_owned(),
    ] {
        std::fs::write(data.join("sub").join(&name), &name).expect("written");
        symlink(&name, data.join("sub").join(format!("l{name}"))).expect("linked");
    }
    symlink("z".repeat(300), data.join("dangling")).expect("linked");
    std::fs::hard_link(data.join("large"), data.join("sub/second")).expect("linked");
    let fifo = Command::new("mkfifo").arg(data.join("fifo")).status();
    assert!(fifo.expect("mkfifo runs").success());
    let socket = std::os::unix::net::UnixListener::bind(data.join("socket"));
    drop(socket.expect("bound"));
    let (packed, out) = packed(root.path(), "/var/data");
    assert!(
        packed.changed.is_empty() && packed.failed.is_empty(),
        "{packed:?}"
    );
    let out = out.path().join("out");
    // What tar leaves out is left out.
    std::fs::remove_file(data.join("socket")).expect("removed");
    std::fs::remove_file(data.join("fifo")).expect("removed");
    let kind = std::fs::symlink_metadata(out.join("fifo"))
        .expect("there")
        .file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));
    std::fs::remove_file(out.join("fifo")).expect("removed");
    same(&data, &out);
    let of = |path: &str| std::fs::metadata(out.join(path)).expect("there");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(of("large").ino(), of("sub/second").ino());
    assert_eq!(of("block").mode() & 0o7777, 0o4710);
    let before = std::fs::metadata(data.join("large")).expect("there");
    assert_eq!(of("large").mtime(), before.mtime());
}

#[test]
fn links_on_the_way_stay_within_the_root() {
    let root = tempfile::tempdir().expect("a folder");
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("real/data")).expect("made");
    std::fs::write(at("real/data/one"), "one").expect("written");
    // A link that would lead out of the root if the kernel followed it.
    symlink("/real", at("absolute")).expect("linked");
    symlink("../../../../real", at("real/up")).expect("linked");
    symlink("two", at("one")).expect("linked");
    symlink("one", at("two")).expect("linked");
    for path in [
        "/real/data",
        "/absolute/data",
        "/real/up/data/",
        "/absolute/up/../real/./data",
    ] {
        let (_, out) = packed(root.path(), path);
        same(&at("real/data"), &out.path().join("out"));
    }
    let (_, out) = packed(root.path(), "/absolute/data/one");
    let one = std::fs::read_to_string(out.path().join("out/one"));
    assert_eq!(one.expect("a file"), "one");
    for (path, why) in [
        ("/gone", "No such file"),
        ("/one", "Too many levels"),
        ("/real/data/one/x", "Not a directory"),
    ] {
        let error = pack(root.path(), path, &mut Vec::new()).expect_err(path);
        let PackError::Path { source, .. } = error else {
            panic!("{error}");
        };
        assert!(source.to_string().contains(why), "{path}: {source}");
    }
}

/// A writer that does something when a file's content comes.
struct Meddler<F> {
    archive: Vec<u8>,
    meddle: Option<F>,
}

impl<F: FnOnce()> Write for Meddler<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.archive.extend_from_slice(bytes);
        if bytes.first() == Some(&b'#')
            && let Some(meddle) = self.meddle.take()
        {
            meddle();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_is_told_and_the_archive_stays_readable() {
    for (length, whole) in [(5u64, false), (10 * PIECE as u64, true)] {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("data");
        std::fs::write(&file, vec![b'#'; 3 * PIECE]).expect("written");
        let meddle = || {
            let opened = File::options().write(true).open(&file).expect("opened");
            opened.set_len(length).expect("set");
        };
        let mut to = Meddler {
            archive: Vec::new(),
            meddle: Some(meddle),
        };
        let packed = pack(root.path(), "/", &mut to).expect("packed");
        assert_eq!(packed.failed.is_empty(), whole, "{packed:?}");
        assert_eq!(packed.changed.lines, ["./data: file changed as we read it"]);
        let mut end = TarEnd::default();
        end.feed(&to.archive).expect("an archive");
        assert!(end.is_complete());
    }
}

#[test]
fn nobody_who_reads_is_an_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let root = tempfile::tempdir().expect("a folder");
    let error = pack(root.path(), "/", &mut Gone).expect_err("nobody");
    assert!(matches!(error, PackError::Write(_)), "{error}");
}
