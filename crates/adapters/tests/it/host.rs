use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use salvor_adapters::host::{Command, Exit, Host, HostError, Input, KEPT, Local, Owner};

fn here() -> Local {
    Local::new("here")
}

#[tokio::test]
async fn a_status_is_the_programs_own() {
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 7", Exit::Code(7)),
        ("kill -9 $$", Exit::Signal(9)),
    ] {
        let none: [&str; 0] = [];
        let ended = here().run(Command::script(script, none)).await.unwrap();
        assert_eq!(ended.exit, exit, "{script}");
    }
    let error = here()
        .run(Command::new(["/no/such/program"]))
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::NotRun { .. }), "{error}");
}

#[tokio::test]
async fn streams_are_whole_in_both_directions() {
    let data: Vec<u8> = (0..5_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let (mut from, mut to) = (data.as_slice(), Vec::new());
    let length = Some(data.len() as u64);
    let input = Input::Stream {
        from: &mut from,
        length,
    };
    let ended = here()
        .run(Command::new(["cat"]).with_input(input).with_output(&mut to))
        .await
        .unwrap();
    assert_eq!(ended.exit, Exit::Code(0));
    assert!(to == data);
}

#[tokio::test]
async fn an_input_that_ends_early_or_is_not_taken_is_no_success() {
    let mut short = &b"short"[..];
    let input = Input::Stream {
        from: &mut short,
        length: Some(6),
    };
    let error = here()
        .run(Command::new(["cat"]).with_input(input))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            HostError::Cut {
                what: "the input",
                ..
            }
        ),
        "{error}"
    );
    let input = Input::Bytes(Bytes::from(vec![0; 4 << 20]));
    let error = here()
        .run(Command::new(["true"]).with_input(input))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            HostError::Cut {
                what: "the input",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_says_too_much_is_read_to_its_end_and_refused() {
    let script = format!("head -c {} /dev/zero", KEPT + 1);
    let none: [&str; 0] = [];
    let error = here()
        .run(Command::script(&script, none))
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::TooMuch { .. }), "{error}");
}

#[tokio::test]
async fn what_takes_too_long_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = r#"sleep 600 & echo $! > "$1"; wait"#;
    let command =
        Command::script(script, [pid.to_str().unwrap()]).with_limit(Duration::from_millis(500));
    let error = here().run(command).await.unwrap_err();
    assert!(matches!(error, HostError::TooLong { .. }), "{error}");
    let pid = std::fs::read_to_string(pid).unwrap();
    let began = Instant::now();
    // Its parent is gone with it, so whoever reaps it may take a moment.
    while std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
    {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "process {pid} still runs"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn files_are_written_whole_with_owner_and_mode() {
    let folder = tempfile::tempdir().unwrap();
    let local = here();
    let host: &dyn Host = &local;
    let path = folder.path().join("a file; with $(strange) 'names'");
    assert!(!host.exists(&path).await.unwrap());
    host.write(&path, Bytes::from_static(b"one\n"), None)
        .await
        .unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let before = host.owner(&path).await.unwrap();
    let owner = Owner {
        mode: 0o640,
        ..before
    };
    host.write(&path, Bytes::from_static(b"two\n"), Some(owner))
        .await
        .unwrap();
    assert_eq!(host.owner(&path).await.unwrap(), owner);
    assert_eq!(host.read(&path).await.unwrap(), "two\n");

    let other = folder.path().join("other");
    host.rename(&path, &other).await.unwrap();
    std::fs::write(&path, "three").unwrap();
    let error = host.rename(&path, &other).await.unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "two\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert!(host.free_space(Path::new("/no/such/place")).await.unwrap() > 0);
}
