//! Commands in containers: the exit code comes from the status alone, and whatever goes wrong has a name.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use salvor_apiserver::{ApiServer, ExecCommand, ExecEnd, ExecHandler, ExecStreams, Options};
use salvor_cluster::exec::{Exec, ExecError, ExecFailure, ExecOutput, ProcessEnd};
use salvor_cluster::{ApiResource, Cluster, ConnectOptions, WriteOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

type Seen = Arc<Mutex<Vec<ExecCommand>>>;

struct World {
    cluster: Cluster,
    seen: Seen,
    _server: salvor_apiserver::ServerHandle,
    _folder: tempfile::TempDir,
}

/// What the commands of these tests do: the first word says it.
async fn act(command: ExecCommand, mut to: ExecStreams) -> (ExecStreams, ExecEnd) {
    let words: Vec<&str> = command.command.iter().map(String::as_str).collect();
    let end = match words.as_slice() {
        ["echo", words @ ..] => {
            to.stdout(words.join(" ").as_bytes()).await;
            ExecEnd::Exit(0)
        }
        ["fail", code] => {
            to.stderr(b"fsfreeze: /data: Device or resource busy\n")
                .await;
            ExecEnd::Exit(code.parse().expect("a number"))
        }
        ["cat"] => {
            while let Some(bytes) = to.stdin().await {
                to.stdout(&bytes).await;
            }
            ExecEnd::Exit(0)
        }
        ["flood"] => {
            for _ in 0..1024 {
                to.stdout(&[b'x'; 32 << 10]).await;
            }
            to.stdout(b"the end").await;
            ExecEnd::Exit(0)
        }
        ["slow status"] => {
            let status = br#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
            to.send(3, &status[..20]).await;
            to.stderr(b"late").await;
            to.send(3, &status[20..]).await;
            ExecEnd::NoStatus
        }
        ["late output"] => {
            to.send(3, br#"{"metadata":{},"status":"Success"}"#).await;
            to.stdout(b"late").await;
            ExecEnd::NoStatus
        }
        ["no status"] => {
            to.stdout(b"all the data").await;
            ExecEnd::NoStatus
        }
        ["cut"] => {
            to.stdout(b"half of the da").await;
            ExecEnd::Cut
        }
        ["half a status"] => {
            to.send(3, br#"{"metadata":{},"sta"#).await;
            ExecEnd::NoStatus
        }
        ["odd channel"] => {
            to.send(9, b"?").await;
            ExecEnd::Exit(0)
        }
        ["hang"] => {
            to.gone().await;
            ExecEnd::Cut
        }
        // What looks for the process of a command whose time is up.
        ["sh", "-c", ..] if command.container == "bare" => {
            ExecEnd::NotStarted("exec: \"sh\": executable file not found in $PATH".to_owned())
        }
        ["sh", "-c", _, "salvor", "hang", "0", _] => {
            to.stdout(b"ended\n").await;
            ExecEnd::Exit(0)
        }
        other => ExecEnd::NotStarted(format!("exec: {other:?}: not found")),
    };
    (to, end)
}

impl World {
    async fn new(change: impl FnOnce(ExecHandler) -> ExecHandler) -> Self {
        let seen = Seen::default();
        let notes = Arc::clone(&seen);
        let handler = ExecHandler::new(move |command: ExecCommand, streams| {
            notes.lock().expect("no panic").push(command.clone());
            act(command, streams)
        });
        let server = ApiServer::memory(Options {
            seed: Some(1),
            exec: Some(change(handler)),
            ..Options::default()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let handle = server.serve(listener).expect("an address");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        std::fs::write(&path, handle.kubeconfig("test")).expect("a file");
        let options = ConnectOptions {
            kubeconfig: Some(path),
            ..ConnectOptions::default()
        };
        let cluster = Cluster::connect(&options).await.expect("connected");
        let world = Self {
            cluster,
            seen,
            _server: handle,
            _folder: folder,
        };
        world.pod("db", "Running").await;
        world.pod("new", "Pending").await;
        world
    }

    async fn pod(&self, name: &str, phase: &str) {
        let pods = ApiResource::known("", "v1", "Pod", "pods", true);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "main", "image": "i"}, {"name": "bare", "image": "i"}]}});
        let options = WriteOptions::default();
        let created = self
            .cluster
            .create(&pods, Some("default"), pod.to_string().as_bytes(), &options)
            .await;
        created.expect("created");
        let status = json!({"status": {"phase": phase}}).to_string();
        let patched = self
            .cluster
            .merge_patch(
                &pods,
                Some("default"),
                name,
                Some("status"),
                status.as_bytes(),
                &options,
            )
            .await;
        patched.expect("patched");
    }

    async fn run(&self, exec: Exec) -> Result<ExecOutput, ExecError> {
        self.cluster.exec(&exec, &CancellationToken::new()).await
    }

    async fn fails(&self, exec: Exec) -> (String, bool) {
        let error = self.run(exec).await.expect_err("it does not end well");
        (error.to_string(), error.may_have_run())
    }
}

fn command(words: &[&str]) -> Exec {
    Exec {
        namespace: "default".to_owned(),
        pod: "db".to_owned(),
        container: "main".to_owned(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        stdin: None,
        timeout: Duration::from_secs(30),
        keep: 1 << 10,
        end_process: true,
    }
}

const WHAT: &str = "in container `main` of pod default/db";

#[tokio::test]
async fn words_arrive_as_they_are_and_the_output_comes_back() {
    let world = World::new(|handler| handler).await;
    let words = ["echo", "a b", "c&d=e", "%41 +", "", "한글"];
    let output = world.run(command(&words)).await.expect("exit code 0");
    assert_eq!(output.stdout.text(), "a b c&d=e %41 +  한글");
    assert!(output.complete);
    let seen = world.seen.lock().expect("no panic");
    assert_eq!(
        (seen[0].protocol, seen[0].container.as_str()),
        ("v5.channel.k8s.io", "main")
    );
}

#[tokio::test]
async fn the_exit_code_is_the_statuss() {
    let world = World::new(|handler| handler).await;
    let (text, ran) = world.fails(command(&["fail", "42"])).await;
    let expected = format!(
        "run `fail` {WHAT}: it ended with exit code 42: fsfreeze: /data: Device or resource busy"
    );
    assert_eq!((text, ran), (expected, true));
    let error = world.run(command(&["slow status"])).await.expect_err("7");
    assert!(
        matches!(error.failure(), ExecFailure::Exit { code: 7, stderr } if stderr.text() == "late"),
        "{error}"
    );
    let (text, ran) = world.fails(command(&["/no/such"])).await;
    assert!(
        text.contains("it could not be started: Internal error occurred") && !ran,
        "{text}"
    );
}

#[tokio::test]
async fn the_end_of_a_stream_is_never_taken_for_success() {
    let world = World::new(|handler| handler).await;
    for (word, detail) in [
        ("no status", "the connection ended without a status"),
        ("cut", "the connection broke: "),
        ("half a status", "and what came of it cannot be read"),
        ("odd channel", "the server sent a frame on channel 9"),
    ] {
        let (text, ran) = world.fails(command(&[word])).await;
        assert!(
            text.contains("it is not known whether the command ended"),
            "{text}"
        );
        assert!(text.contains(detail) && ran, "{text}");
    }
}

#[tokio::test]
async fn huge_output_is_read_and_only_its_end_kept() {
    let world = World::new(|handler| handler).await;
    let output = world.run(command(&["flood"])).await.expect("exit code 0");
    assert!(output.stdout.text().ends_with("xthe end"));
    assert_eq!(output.stdout.text().len(), 1 << 10);
    assert_eq!(output.stdout.dropped(), (32 << 20) + 7 - (1 << 10));
    let output = world
        .run(command(&["late output"]))
        .await
        .expect("exit code 0");
    assert_eq!(
        output.stdout.text(),
        "late",
        "what comes after the status counts"
    );
}

#[tokio::test]
async fn input_is_sent_to_its_end_where_the_protocol_has_one() {
    let world = World::new(|handler| handler).await;
    let input = "0123456789".repeat(10_000);
    let exec = Exec {
        stdin: Some(input.clone().into()),
        keep: 1 << 20,
        ..command(&["cat"])
    };
    let output = world.run(exec.clone()).await.expect("exit code 0");
    assert!(
        output.stdout.text() == input,
        "{} bytes",
        output.stdout.text().len()
    );
    let old = World::new(ExecHandler::only_v4).await;
    let (text, _) = old.fails(exec).await;
    assert!(text.contains("cannot end a command's input"), "{text}");
    let output = old
        .run(command(&["echo", "old"]))
        .await
        .expect("exit code 0");
    assert_eq!(output.stdout.text(), "old");
    assert_eq!(
        old.seen.lock().expect("no panic")[1].protocol,
        "v4.channel.k8s.io"
    );
}

#[tokio::test]
async fn a_command_whose_time_is_up_is_ended_and_the_error_says_what_came_of_it() {
    let world = World::new(|handler| handler).await;
    let hang = |container: &str, end_process| Exec {
        timeout: Duration::from_millis(200),
        container: container.to_owned(),
        end_process,
        ..command(&["hang"])
    };
    for (exec, expected) in [
        (hang("main", true), ProcessEnd::Ended),
        (
            hang("bare", true),
            ProcessEnd::Left("the container has no shell to end it with".to_owned()),
        ),
        (
            hang("main", false),
            ProcessEnd::Left("nobody asked to end it".to_owned()),
        ),
    ] {
        let error = world.run(exec).await.expect_err("its time is up");
        let ExecFailure::Timeout { process, .. } = error.failure() else {
            panic!("{error}");
        };
        assert_eq!(*process, expected);
        assert!(error.may_have_run());
        assert!(
            error.to_string().contains("it did not end within 0.2 s; "),
            "{error}"
        );
    }
    let cancel = CancellationToken::new();
    let (exec, seen) = (command(&["hang"]), Arc::clone(&world.seen));
    seen.lock().expect("no panic").clear();
    let begun = async {
        while seen.lock().expect("no panic").is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(world.cluster.exec(&exec, &cancel), begun);
    let error = ended.expect_err("cancelled");
    assert!(error.is_cancelled(), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("cancelled; its process was ended"),
        "{error}"
    );
}

#[tokio::test]
async fn refusals_have_names_and_nothing_ran() {
    let world = World::new(|handler| handler).await;
    let change = |pod: &str, container: &str| Exec {
        pod: pod.to_owned(),
        container: container.to_owned(),
        ..command(&["echo"])
    };
    for (exec, expected) in [
        (change("gone", "main"), "there is no such pod"),
        (
            change("db", "other"),
            "the pod has no such container: container other is not valid",
        ),
        (change("db", ""), "a container name must be specified"),
        (change("new", "main"), "the container does not run: "),
    ] {
        let (text, ran) = world.fails(exec).await;
        assert!(text.contains(expected) && !ran, "{text}");
    }
    assert_eq!(world.seen.lock().expect("no panic").len(), 0);
    // A server that runs nothing says so.
    let plain = ApiServer::memory(Options::default());
    let cluster = Cluster::from_service(plain, "plain");
    let error = cluster
        .exec(&command(&["echo"]), &CancellationToken::new())
        .await
        .expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("this server stores objects and runs nothing"),
        "{error}"
    );
}

#[tokio::test]
async fn streamed_output_is_whole_only_when_the_status_says_so() {
    let world = World::new(|handler| handler).await;
    let cancel = CancellationToken::new();
    let streamed = async |words: &[&str]| {
        let (to, mut from) = tokio::sync::mpsc::channel::<bytes::Bytes>(2);
        let exec = command(words);
        let taking = async {
            let mut taken = 0;
            while let Some(piece) = from.recv().await {
                taken += piece.len();
            }
            taken
        };
        tokio::join!(world.cluster.exec_streamed(&exec, to, &cancel), taking)
    };
    let (ended, taken) = streamed(&["flood"]).await;
    let output = ended.expect("exit code 0");
    assert_eq!((taken, output.stdout.text().as_str()), ((32 << 20) + 7, ""));
    // What was written before a bad end was taken all the same: the end of the output says nothing.
    for (word, bytes) in [("no status", 12), ("cut", 14)] {
        let (ended, taken) = streamed(&[word]).await;
        let error = ended.expect_err("no status").to_string();
        assert!(error.contains("it is not known whether"), "{error}");
        assert_eq!(taken, bytes, "{word}");
    }
    let (ended, _) = streamed(&["late output"]).await;
    assert!(ended.is_ok(), "what comes after the status is taken, too");
}

#[tokio::test]
async fn a_command_whose_output_nobody_takes_any_more_is_ended() {
    let world = World::new(|handler| handler).await;
    let (to, from) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
    drop(from);
    let (exec, cancel) = (command(&["hang"]), CancellationToken::new());
    let ended = world.cluster.exec_streamed(&exec, to, &cancel).await;
    let error = ended.expect_err("nobody takes");
    assert!(error.is_cancelled(), "{error}");
    assert!(
        error.to_string().ends_with("its process was ended"),
        "{error}"
    );
}
