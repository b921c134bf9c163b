//! `etcd install`: what it renders is what systemd takes and what runs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use salvor_testkit::required_path;
use serde_json::Value;

use crate::etcd_stream::Bench;
use crate::support::Place;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn units_are_taken_by_systemd_and_kept_when_they_were_changed() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_salvor");
    let line = format!(
        "--location s3://b/p?region=x etcd install --as timer --program {program} --output-dir units --cacert /etc/etcd/ca.crt \
         --user root --password-file /etc/etcd/password --credentials aws"
    );
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    words.extend(["--schedule", "CRON_TZ=Europe/Berlin 30 2,14 * * 1-5"].map(str::to_owned));
    let install = |more: &[&str]| {
        let mut words = words.clone();
        words.extend(more.iter().map(|word| (*word).to_owned()));
        place.salvor(&words)
    };
    let done = install(&[]);
    assert_eq!(done.expect(0).lines().count(), 3, "{}", done.out);
    let folder = place.home.path().join("units");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
    let timer = read("salvor-etcd-snapshot.timer");
    let calendar = "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 02,14:30:00 Europe/Berlin\n";
    assert!(timer.contains(calendar), "{timer}");
    let service = read("salvor-etcd-snapshot.service");
    for part in [
        "--location \"s3://b/p?region=x\"",
        "--password-file /etc/etcd/password",
        "AWS_SHARED_CREDENTIALS_FILE=/etc/salvor/aws",
    ] {
        assert!(service.contains(part), "{service}");
    }
    // Once more is nothing; what somebody changed is not lost.
    install(&[]).expect(0);
    let changed = folder.join("salvor-etcd-stream.service");
    std::fs::write(&changed, "changed").expect("a file");
    install(&[]).expect(4);
    assert_eq!(read("salvor-etcd-stream.service"), "changed");
    install(&["--replace"]).expect(0);

    if let Some(analyze) = required_path("SALVOR_SYSTEMD_ANALYZE") {
        let names = [
            "salvor-etcd-snapshot.service",
            "salvor-etcd-snapshot.timer",
            "salvor-etcd-stream.service",
        ];
        let output = Command::new(&analyze)
            .arg("verify")
            .args(names.map(|name| folder.join(name)))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        // It looks at units of the machine too, where there are some.
        let of_ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("salvor-etcd"))
            .collect();
        assert!(of_ours.is_empty(), "{said}");
    }
}

#[test]
fn what_would_not_run_or_show_a_secret_is_refused() {
    let place = Place::new();
    for (line, part) in [
        ("--as timer --user root:secret", "--password-file"),
        ("--as timer --cacert ca.crt", "whole path"),
        ("--as timer --schedule @every_6h", "@every"),
        ("--as timer --schedule @hourly,x", "@hourly,x"),
        ("--as cronjob --kubernetes-version 2.1", "2.1"),
        ("--as pod", "pod"),
    ] {
        let words = format!("etcd install {line}");
        let words: Vec<String> = words
            .split_whitespace()
            .map(|word| word.replace("@every_6h", "@every 6h"))
            .collect();
        let run = place.salvor(&words);
        assert_eq!(run.code, 2, "{line}: {}", run.err);
        assert!(run.err.contains(part), "{line}: {}", run.err);
        assert!(!run.err.contains("secret"), "{line}: {}", run.err);
    }
}

#[test]
fn the_commands_of_a_static_pod_take_snapshots_by_schedule_and_capture() {
    let Some(bench) = Bench::new() else {
        return;
    };
    let home = bench.place.home.path();
    let last = bench.etcd.put("/registry/pods/a/one");
    let settings = home.display();
    let endpoint = &bench.etcd.endpoint;
    let words = format!(
        "etcd install --as static-pod --settings {settings} --endpoints {endpoint} --schedule"
    );
    let mut words = Bench::words(&words);
    words.push("@every 1s");
    let printed = bench.place.salvor(&words);
    let pod: Value = serde_saphyr::from_str(printed.expect(0)).expect("YAML");
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["spec"]["hostNetwork"], true);
    let containers = pod["spec"]["containers"].as_array().expect("a list");
    assert_eq!(containers.len(), 2, "{pod}");
    let mut running: Vec<_> = containers
        .iter()
        .map(|container| {
            let words = container["args"].as_array().expect("a list").iter();
            let words = words.map(|word| match word.as_str().expect("text") {
                "/work" => home.display().to_string(),
                word => word.to_owned(),
            });
            bench
                .place
                .command(&words.collect::<Vec<_>>())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary runs")
        })
        .collect();
    bench.wait_for(last);
    let begun = Instant::now();
    loop {
        let listed = bench.run("etcd timeline -o json");
        let listed: Value = serde_json::from_str(listed.expect(0)).expect("JSON");
        let snapshots = listed[0]["snapshots"].as_array().map_or(0, Vec::len);
        if snapshots >= 2 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{listed}");
    }
    for process in &mut running {
        let sent = Command::new("kill")
            .args(["-TERM", &process.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        assert_eq!(process.wait().expect("it ends").code(), Some(0));
    }
}
