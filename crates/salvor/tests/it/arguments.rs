//! Help, usage errors and arguments that mean harm.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::support::{Place, Run, command};

fn run(line: &str) -> Run {
    let home = tempfile::tempdir().expect("temporary folder");
    let args = line.split_whitespace();
    let output = command(home.path()).args(args).output();
    output.expect("the binary runs").into()
}

#[test]
fn help_documents_exit_codes_and_every_command_has_help() {
    let help = run("--help");
    let text = help.expect(0);
    for expected in [
        "Exit codes:",
        "4    refused",
        "7    verification failed",
        "SALVOR_LOCATION",
        "undelete",
        "demo",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    for command in [
        "backup create",
        "backup get",
        "backup describe",
        "backup logs",
        "backup download",
        "backup delete",
        "backup verify",
        "backup diff",
        "backup export",
        "backup browse",
        "restore create",
        "restore get",
        "restore describe",
        "restore logs",
        "restore delete",
        "backup-location create",
        "backup-location get",
        "backup-location describe",
        "backup-location check",
        "backup-location set-default",
        "create backup",
        "create restore",
        "get backups",
        "get restores",
        "get backup-locations",
        "describe backup",
        "delete backup",
        "delete restore",
        "pv released",
        "pv rebind",
        "pvc check",
        "volume export",
        "volume points",
        "undelete",
        "demo",
        "version",
        "completion",
    ] {
        let help = run(&format!("{command} --help"));
        assert!(help.expect(0).contains("Usage:"), "{command}");
    }
}

#[test]
fn a_restore_of_files_goes_to_a_directory_and_one_of_a_point_to_a_claim() {
    for line in [
        "volume restore latest",
        "volume restore latest /tmp/x",
        "volume restore latest /tmp/x /tmp/y --domain d",
        "volume restore shop/data --point b --domain d",
        "volume restore shop/data --point b --path x",
        "volume restore shop/data --point b --in-place --into shop/other",
        "volume restore latest /tmp/x --domain d --into shop/other",
        "volume restore latest /tmp/x --domain d --dry-run",
        "volume restore shop/data ../x --point b --in-place",
        "volume restore data --point b --in-place",
    ] {
        run(line).expect(2);
    }
}

#[test]
fn velero_flags_are_known_to_create() {
    let backup = run("backup create --help");
    for flag in [
        "--ttl",
        "--include-namespaces",
        "--exclude-namespaces",
        "--include-resources",
        "--exclude-resources",
        "--include-cluster-scoped-resources",
        "--exclude-cluster-scoped-resources",
        "--include-namespace-scoped-resources",
        "--exclude-namespace-scoped-resources",
        "--labels",
        "--annotations",
        "--storage-location",
        "--volume-snapshot-locations",
        "--selector",
        "--or-selector",
        "--ordered-resources",
        "--csi-snapshot-timeout",
        "--item-operation-timeout",
        "--snapshot-volumes",
        "--snapshot-move-data",
        "--data-mover",
        "--include-cluster-resources",
        "--default-volumes-to-fs-backup",
        "--resource-policies-configmap",
        "--parallel-files-upload",
        "--volume-group-snapshot-label-key",
        "--from-schedule",
        "--wait",
    ] {
        assert!(backup.expect(0).contains(flag), "backup create {flag}");
    }
    let restore = run("restore create --help");
    for flag in [
        "--from-backup",
        "--from-schedule",
        "--allow-partially-failed",
        "--namespace-mappings",
        "--existing-resource-policy",
        "--status-include-resources",
        "--status-exclude-resources",
        "--restore-volumes",
        "--preserve-nodeports",
        "--include-cluster-resources",
        "--resource-modifier-configmap",
        "--write-sparse-files",
        "--parallel-files-download",
        "--item-operation-timeout",
        "--wait",
    ] {
        assert!(restore.expect(0).contains(flag), "restore create {flag}");
    }
}

#[test]
fn what_cannot_be_meant_is_wrong_usage_with_a_reason() {
    for (line, reason) in [
        ("", "Usage:"),
        ("backup frobnicate", "unrecognized subcommand"),
        ("backup get --nonsense", "unexpected argument"),
        ("backup get", "no backup location is given"),
        (
            "backup get --location ftp://x/y",
            "not one of file, s3, azure, gs",
        ),
        (
            "backup get --location s3://key:hunter2@b/x",
            "credentials do not belong in a URL",
        ),
        ("backup get --location /tmp/x -o xml", "invalid value 'xml'"),
        ("backup get --location /tmp/x -l a=(", "label selector"),
        (
            "backup create x --ttl 1d --location /tmp/x",
            "not a duration",
        ),
        (
            "backup create UPPER --location /tmp/x",
            "lower-case letters",
        ),
        (
            "backup create x --labels a --location /tmp/x -o json",
            "not key=value",
        ),
        ("restore create --location /tmp/x", "--from-backup"),
        (
            "restore create --from-backup x --namespace-mappings a:b,a:c -o json",
            "mapped twice",
        ),
        ("undelete web --location /tmp/x", "not KIND/NAME"),
        ("--lang fr version --client-only", "not a language"),
        (
            "backup get --location /tmp/x --config-file /nonexistent.yaml -o name --location n",
            "argument",
        ),
    ] {
        let run = run(line);
        assert_eq!(run.code, 2, "{line}: {}{}", run.out, run.err);
        assert!(run.err.contains(reason), "{line}: {}", run.err);
        assert!(!run.err.contains("hunter2"), "{line} shows a secret");
    }
}

#[test]
fn hostile_names_never_leave_the_location_and_never_panic() {
    let place = Place::new();
    let long = "x".repeat(100_000);
    for name in [
        "../../etc/passwd",
        "a/b",
        "..",
        "\u{1b}[2J",
        "백업",
        "a\nb",
        long.as_str(),
        "-",
    ] {
        for verb in ["describe", "logs", "download", "verify", "delete"] {
            let run = place.salvor(&["backup", verb, "--", name]);
            assert!(
                matches!(run.code, 2 | 3),
                "{verb} {:?}: {} {}",
                &name[..name.len().min(20)],
                run.code,
                run.err
            );
            assert!(!run.err.contains("panicked"), "{verb}: {}", run.err);
            assert!(
                !run.err.contains('\u{1b}'),
                "{verb}: an escape reached the terminal"
            );
            assert!(
                run.err.len() < 210_000,
                "{verb}: the error repeats the name"
            );
        }
    }
    let raw = OsString::from_vec(vec![b'a', 0xff, 0xfe]);
    let run = place.salvor(&[OsString::from("backup"), "describe".into(), raw]);
    assert_eq!(run.code, 2, "{}", run.err);
}

#[test]
fn completion_and_version_need_nothing() {
    assert!(run("completion bash").expect(0).contains("_salvor"));
    assert!(run("completion zsh").expect(0).contains("#compdef salvor"));
    let version = run("version --client-only");
    assert!(version.expect(0).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(
        run("--version").expect(0).trim(),
        format!("salvor {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_with_a_hint() {
    let place = Place::new();
    let broken = "users:\n- name: a\n  user: {token: s3cr3t-t0ken\n";
    std::fs::write(place.kubeconfig(), broken).expect("written");
    let run = place.run("backup create first");
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("hint: check --kubeconfig"), "{}", run.err);
    assert!(run.err.contains("not a valid kubeconfig"), "{}", run.err);
    assert!(!run.err.contains("s3cr3t"), "{}", run.err);
    assert!(!place.location().join("backups").exists());
}

#[test]
fn messages_follow_the_language_and_machine_output_does_not() {
    let place = Place::new();
    std::fs::create_dir(place.location()).expect("folder");
    let korean = place.run("backup get --lang ko");
    assert!(korean.err.contains("백업이 없습니다"), "{}", korean.err);
    let json = place.run("backup get --lang ko -o json");
    let value: serde_json::Value = serde_json::from_str(json.expect(0)).expect("JSON");
    assert_eq!(value["kind"], "BackupList");
}
