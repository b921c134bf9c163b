//! What every transport keeps to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use salvor_adapters::host::{
    Command, Exit, Host, HostError, Input, KEPT, Local, Owner, Ssh, SshAddress,
};

use crate::sshd::Sshd;

const NONE: [&str; 0] = [];

/// Every transport that can be had here.
async fn each(test: impl AsyncFn(&dyn Host)) {
    test(&Local::new("here")).await;
    if let Some(sshd) = Sshd::start() {
        test(&sshd.host()).await;
    }
}

async fn ended(pid: &str) {
    let began = Instant::now();
    // Its parent is gone with it, so whoever reaps it may take a moment.
    while std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
    {
        let late = began.elapsed() > Duration::from_secs(20);
        assert!(!late, "process {pid} still runs");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_status_is_the_programs_own() {
    each(async |host| {
        for (script, exits) in [
            ("exit 0", [Exit::Code(0); 2]),
            ("exit 7", [Exit::Code(7); 2]),
            ("exit 255", [Exit::Code(255); 2]),
            // A shell tells a signal by a code.
            ("kill -9 $$", [Exit::Signal(9), Exit::Code(137)]),
        ] {
            let ended = host.run(Command::script(script, NONE)).await.unwrap();
            assert!(exits.contains(&ended.exit), "{script}: {ended:?}");
        }
        let error = host
            .run(Command::new(["/no/such/program"]))
            .await
            .unwrap_err();
        assert!(matches!(error, HostError::NotRun { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    each(async |host| {
        let words = [
            "",
            "two words",
            "it's",
            "\"$HOME\" `id` \\",
            "a\nb\n",
            "-n",
            "*",
            "가나다",
            "!x",
            "~",
        ];
        let command = Command::script(r#"for w in "$@"; do printf '%s\0' "$w"; done"#, words);
        let said = host.run(command).await.unwrap();
        let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
        assert_eq!(String::from_utf8_lossy(&said.stdout), expected);
        assert_eq!(said.stderr, "");
        let command = Command::script("printf err >&2; cat >&2; exit 3", NONE);
        let said = host
            .run(command.with_input(Input::Bytes("or".into())))
            .await
            .unwrap();
        assert_eq!((said.exit, said.stderr.as_str()), (Exit::Code(3), "error"));
    })
    .await;
}

#[tokio::test]
async fn streams_are_whole_in_both_directions() {
    each(async |host| {
        let data: Vec<u8> = (0..5_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let (mut from, mut to) = (data.as_slice(), Vec::new());
        let length = Some(data.len() as u64);
        let input = Input::Stream {
            from: &mut from,
            length,
        };
        let command = Command::new(["cat"]).with_input(input).with_output(&mut to);
        assert_eq!(host.run(command).await.unwrap().exit, Exit::Code(0));
        assert!(to == data);
    })
    .await;
}

#[tokio::test]
async fn an_input_that_ends_early_or_is_not_taken_is_no_success() {
    each(async |host| {
        let mut short = &b"short"[..];
        let input = Input::Stream {
            from: &mut short,
            length: Some(6),
        };
        let much = Input::Bytes(Bytes::from(vec![0; 16 << 20]));
        for (program, input) in [("cat", input), ("true", much)] {
            let error = host
                .run(Command::new([program]).with_input(input))
                .await
                .unwrap_err();
            let cut = matches!(
                error,
                HostError::Cut {
                    what: "the input",
                    ..
                }
            );
            assert!(cut, "{program}: {error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_program_that_says_too_much_is_read_to_its_end_and_refused() {
    each(async |host| {
        let script = format!("head -c {} /dev/zero", KEPT + 1);
        let error = host.run(Command::script(&script, NONE)).await.unwrap_err();
        assert!(matches!(error, HostError::TooMuch { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn what_takes_too_long_is_ended_with_all_that_it_started() {
    each(async |host| {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = r#"sleep 600 & echo $! > "$1"; wait"#;
        let limit = Duration::from_secs(5);
        let command = Command::script(script, [pid.to_str().unwrap()]).with_limit(limit);
        let error = host.run(command).await.unwrap_err();
        assert!(matches!(error, HostError::TooLong { .. }), "{error}");
        ended(&std::fs::read_to_string(pid).unwrap()).await;
    })
    .await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_ended() {
    each(async |host| {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = r#"echo $$ > "$1.part"; mv "$1.part" "$1"; exec sleep 600"#;
        let written = async {
            while !pid.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = host.run(Command::script(script, [pid.to_str().unwrap()])) => panic!("{ended:?}"),
            () = written => {}
        }
        ended(&std::fs::read_to_string(pid).unwrap()).await;
    })
    .await;
}

#[tokio::test]
async fn files_are_written_whole_with_owner_and_mode() {
    each(async |host| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a file; with $(strange) 'names'");
        assert!(!host.exists(&path).await.unwrap());
        host.write(&path, Bytes::from_static(b"one\n"), None)
            .await
            .unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
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
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_refused_or_breaks_is_never_a_status() {
    let Some(sshd) = Sshd::start() else { return };
    // The key of the host is another one than the known one; nobody listens; nobody is there by that name.
    let elsewhere = SshAddress {
        port: Some(1),
        ..sshd.address("host")
    };
    for to in [sshd.address("stranger"), elsewhere] {
        let host = Ssh::new("there", to);
        let error = host.run(Command::new(["true"])).await.unwrap_err();
        assert!(matches!(error, HostError::Connection { .. }), "{error}");
    }
    // The program's parent is the shell that watches over it, and that one's is the connection.
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script =
        r#"echo $$ > "$1"; read -r a b c p r <"/proc/$PPID/stat"; kill -9 "$p"; exec sleep 600"#;
    let command = Command::script(script, [pid.to_str().unwrap()]);
    let error = sshd.host().run(command).await.unwrap_err();
    assert!(matches!(error, HostError::Connection { .. }), "{error}");
    ended(&std::fs::read_to_string(pid).unwrap()).await;
}
