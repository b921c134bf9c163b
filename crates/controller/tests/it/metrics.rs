//! Metrics and probes, as a scraper and a kubelet see them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use salvor_api::labels;
use salvor_api::velero::{Backup, Restore, Schedule};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::world::{World, until};

/// A socket that nobody else has.
fn socket() -> (Arc<TcpListener>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (Arc::new(listener), address)
}

/// Status line, head and body of an answer.
async fn get(address: SocketAddr, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    (head.to_owned(), body.to_owned())
}

/// Value of a series; `None` when it is not there.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        let rest = line.strip_prefix(series)?;
        // An empty set of labels may be written.
        let rest = rest.strip_prefix("{}").unwrap_or(rest);
        rest.strip_prefix(' ')?.parse().ok()
    })
}

/// Waits until a series has a value.
async fn until_is(address: SocketAddr, series: &str, wanted: f64) -> String {
    until(async || {
        let (_, text) = get(address, "/metrics", "application/openmetrics-text").await;
        (value(&text, series) == Some(wanted)).then_some(text)
    })
    .await
}

#[tokio::test]
async fn runs_are_counted_under_veleros_names() {
    let world = World::new().await;
    let (listener, address) = socket();
    let server = world.serve_with(|options| options.metrics = Some(listener));
    world.back_up("b1", |_| ()).await;
    world
        .back_up("wrong", |backup| {
            backup.spec.storage_location = "nowhere".to_owned();
        })
        .await;
    let of_schedule = |backup: &mut Backup| {
        let label = (labels::SCHEDULE_NAME.to_owned(), "nightly".to_owned());
        backup.metadata.labels.extend([label]);
    };
    world.back_up("nightly-1", of_schedule).await;
    let ended = |backup: &Backup| backup.status.phase.is_final();
    for name in ["b1", "wrong", "nightly-1"] {
        world.until(name, ended).await;
    }
    world.restore("r1", "b1").await;
    world
        .until("r1", |restore: &Restore| restore.status.phase.is_final())
        .await;
    let text = until_is(address, "velero_restore_success_total{schedule=\"\"}", 1.0).await;
    for (series, wanted) in [
        ("velero_backup_total", 3.0),
        ("velero_restore_total", 1.0),
        ("velero_backup_attempt_total{schedule=\"\"}", 1.0),
        ("velero_backup_success_total{schedule=\"\"}", 1.0),
        ("velero_backup_failure_total{schedule=\"\"}", 0.0),
        ("velero_backup_validation_failure_total{schedule=\"\"}", 1.0),
        ("velero_backup_success_total{schedule=\"nightly\"}", 1.0),
        (
            "velero_backup_duration_seconds_count{schedule=\"nightly\"}",
            1.0,
        ),
        ("velero_backup_last_status{schedule=\"nightly\"}", 1.0),
        ("velero_restore_attempt_total{schedule=\"\"}", 1.0),
        (
            "velero_backup_location_status_gauge{backup_location_name=\"default\"}",
            1.0,
        ),
        ("salvor_location_available{location=\"default\"}", 1.0),
        ("salvor_sync_stopped{location=\"default\"}", 0.0),
        ("salvor_leader", 1.0),
        ("salvor_leader_terms_total", 1.0),
        ("salvor_queue_length{kind=\"Backup\"}", 0.0),
        ("salvor_failed_delete_requests", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(wanted), "{series}\n{text}");
    }
    let items = value(&text, "velero_backup_items_total{schedule=\"nightly\"}");
    assert!(items > Some(4.0), "{items:?}");
    let size = value(&text, "velero_backup_tarball_size_bytes{schedule=\"\"}");
    assert!(size > Some(100.0), "{size:?}");
    let backup: Backup = world.get("nightly-1").await.expect("there");
    let at = backup
        .status
        .completion_timestamp
        .expect("it ended")
        .timestamp()
        .as_second();
    let last = value(
        &text,
        "velero_backup_last_successful_timestamp{schedule=\"nightly\"}",
    );
    assert!((last.expect("there") as i64) == at, "{last:?} {at}");
    let writes = value(
        &text,
        "salvor_cluster_requests_total{method=\"PATCH\",code=\"200\"}",
    );
    assert!(writes > Some(3.0), "{text}");
    for series in ["requests", "written_bytes", "read_bytes"] {
        let series = format!("salvor_store_{series}_total{{location=\"default\"}}");
        assert!(value(&text, &series) > Some(10.0), "{series}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn both_text_formats_are_served_and_nothing_else() {
    let world = World::new().await;
    let (listener, address) = socket();
    let server = world.serve_with(|options| options.metrics = Some(listener));
    let text = until_is(address, "salvor_leader", 1.0).await;
    assert!(
        text.contains("# TYPE velero_backup_attempt counter\n"),
        "{text}"
    );
    let (head, text) = get(address, "/metrics", "text/plain").await;
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(
        text.contains("# TYPE velero_backup_attempt_total counter\n"),
        "{text}"
    );
    assert!(!text.contains("# EOF"), "{text}");
    let (head, body) = get(address, "/readyz", "*/*").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && body == "leading\n",
        "{head}\n{body}"
    );
    let (head, _) = get(address, "/healthz", "*/*").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = get(address, "/debug/pprof", "*/*").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    server.stop().await;
}

#[tokio::test]
async fn one_that_stands_by_is_ready_and_counts_no_objects_until_it_leads() {
    let world = World::new().await;
    let (listener, first_address) = socket();
    let first = world.serve_with(|options| options.metrics = Some(listener));
    until_is(first_address, "salvor_leader", 1.0).await;

    let (listener, address) = socket();
    let second = world.server(&world.cluster, "second");
    let options = salvor_controller::ServerOptions {
        metrics: Some(listener),
        ..salvor_controller::ServerOptions::new(crate::world::NAMESPACE, "second")
    };
    let second = second.with_options(options);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let task = tokio::spawn(async move { second.run(&stop).await });
    until(async || {
        let (head, body) = get(address, "/readyz", "*/*").await;
        (head.starts_with("HTTP/1.1 200") && body.starts_with("standing by")).then_some(())
    })
    .await;
    let (_, text) = get(address, "/metrics", "text/plain").await;
    assert_eq!(value(&text, "salvor_leader"), Some(0.0), "{text}");
    assert_eq!(value(&text, "velero_backup_total"), None, "{text}");
    assert_eq!(
        value(&text, "salvor_location_available{location=\"default\"}"),
        None
    );

    first.stop().await;
    let text = until_is(address, "salvor_leader", 1.0).await;
    assert_eq!(value(&text, "velero_backup_total"), Some(0.0), "{text}");
    cancel.cancel();
    task.await.expect("no panic").expect("served");
}

#[tokio::test]
async fn a_schedule_without_a_success_shows_how_many_times_have_passed() {
    let world = World::new().await;
    let (listener, address) = socket();
    // Three hours later than the objects are made.
    let clock = || jiff::Timestamp::now() + jiff::SignedDuration::from_hours(3);
    let server = world.serve_at(clock, |options| options.metrics = Some(listener));
    let mut schedule = Schedule::named(crate::world::NAMESPACE, "hourly");
    schedule.spec.schedule = "@hourly".to_owned();
    schedule.spec.template.storage_location = "nowhere".to_owned();
    world.kinds().create(&schedule).await.expect("created");
    let mut wrong = Schedule::named(crate::world::NAMESPACE, "wrong");
    wrong.spec.schedule = "every now and then".to_owned();
    world.kinds().create(&wrong).await.expect("created");
    let text = until_is(
        address,
        "velero_backup_validation_failure_total{schedule=\"hourly\"}",
        1.0,
    )
    .await;
    let runs = value(
        &text,
        "salvor_schedule_runs_since_success{schedule=\"hourly\"}",
    );
    assert_eq!(runs, Some(3.0), "{text}");
    for (series, wanted) in [
        ("velero_backup_last_status{schedule=\"hourly\"}", 0.0),
        (
            "velero_schedule_expected_interval_seconds{schedule=\"hourly\"}",
            3600.0,
        ),
        ("salvor_schedule_paused{schedule=\"hourly\"}", 0.0),
        ("salvor_schedule_invalid{schedule=\"hourly\"}", 0.0),
        ("salvor_schedule_invalid{schedule=\"wrong\"}", 1.0),
        ("velero_backup_failure_total{schedule=\"wrong\"}", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(wanted), "{series}\n{text}");
    }
    server.stop().await;
}
