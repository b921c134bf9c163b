//! Strict mode: a request is worth what its requester may do.

use std::net::SocketAddr;

use salvor_api::labels::{REQUESTED_BY, SCHEDULE_NAME};
use salvor_api::velero::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, DownloadRequest,
    DownloadRequestPhase, DownloadTargetKind, Restore, RestorePhase, Schedule, ServerStatusRequest,
    ServerStatusRequestPhase,
};
use salvor_cluster::ApiResource;
use serde_json::json;

use crate::tenants::{Rule, Tenants, backup, restore};
use crate::tls::{connect, published, send};
use crate::world::{NAMESPACE, until};

/// May do everything.
const ROOT: Rule = ("root", "*", "*", "*");

#[tokio::test]
async fn a_restore_does_what_its_requester_may_do_and_no_more() {
    let tenants = Tenants::new(&[ROOT, ("tom", "get", "*", "*")]).await;
    let world = &tenants.world;
    let server = tenants.serve();
    assert_eq!(
        tenants.backed_up("root", "b1").await.status.phase,
        BackupPhase::Completed
    );

    // Made while admission was not asked, with nothing or with another's annotation.
    let root: Restore = tenants
        .admit("root", None, &restore("r0", Some("a")))
        .await
        .expect("admitted");
    let mut copied = restore("copied", Some("a"));
    copied.metadata.annotations = root.metadata.annotations.clone();
    let mut resumed = restore("resumed", Some("a"));
    resumed.status.phase = RestorePhase::InProgress;
    for object in [restore("silent", Some("a")), copied, resumed] {
        world.kinds().create(&object).await.expect("created");
        let ended = tenants.ended(&object.metadata.name).await;
        assert_eq!(
            ended.status.phase,
            RestorePhase::FailedValidation,
            "{ended:?}"
        );
        let said = ended.status.validation_errors.join(" ");
        assert!(said.contains("who asks for it is not known"), "{said}");
        assert!(said.contains("salvor.dev/requested-by=me"), "{said}");
    }

    tenants.create("tom", &restore("r1", Some("copy"))).await;
    let refused = tenants.ended("r1").await;
    assert_eq!(
        refused.status.phase,
        RestorePhase::FailedValidation,
        "{refused:?}"
    );
    for text in [
        "user `tom` may not create namespaces",
        "user `tom` may not create configmaps in namespace `copy`",
    ] {
        let errors = &refused.status.validation_errors;
        assert!(
            errors.iter().any(|error| error == text),
            "{text}: {errors:?}"
        );
    }
    world
        .until_event("r1", "FailedValidation", |text| text.contains("tom"))
        .await;
    // And one that says it is under way already is asked about as well.
    let mut under_way = restore("r2", Some("copy"));
    under_way.status.phase = RestorePhase::InProgress;
    tenants.create("tom", &under_way).await;
    assert_eq!(
        tenants.ended("r2").await.status.phase,
        RestorePhase::FailedValidation
    );
    let namespaces = ApiResource::namespaces();
    let copy = world
        .cluster
        .get(&namespaces, None, "copy")
        .await
        .expect("read");
    assert_eq!(copy, None, "something was restored");

    // Writing where he may write what he may not read would let him read it.
    tenants
        .rules
        .lock()
        .expect("not poisoned")
        .extend([("sam", "create", "*", "*"), ("tom", "create", "*", "*")]);
    tenants.create("sam", &restore("r3", Some("copy"))).await;
    let refused = tenants.ended("r3").await;
    let said = refused.status.validation_errors.join(" ");
    assert!(
        said.contains("user `sam` may not get configmaps in namespace `shop`"),
        "{said}"
    );
    tenants.create("tom", &restore("r4", Some("copy"))).await;
    let done = tenants.ended("r4").await;
    assert_eq!(done.status.phase, RestorePhase::Completed, "{done:?}");
    let address = tenants
        .metrics
        .lock()
        .expect("not poisoned")
        .expect("served");
    let text = scrape(address).await;
    assert!(
        text.contains("salvor_requests_refused_total{kind=\"Restore\"} 6"),
        "{text}"
    );
    server.stop().await;
}

async fn scrape(address: SocketAddr) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("served");
    let request = "GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered");
    text
}

#[tokio::test]
async fn a_backup_holds_what_its_requester_may_read() {
    let list = |user, resource| (user, "list", resource, "shop");
    let tenants = Tenants::new(&[
        ("ann", "list", "*", "shop"),
        ("ann", "get", "*", "shop"),
        list("bob", "configmaps"),
    ])
    .await;
    let server = tenants.serve();
    let both = |name: &str| {
        let mut backup = backup(name);
        backup.spec.included_resources = ["configmaps", "secrets"].map(str::to_owned).to_vec();
        backup
    };
    tenants.create("bob", &both("b1")).await;
    let refused: Backup = tenants
        .world
        .until("b1", |b: &Backup| b.status.phase.is_final())
        .await;
    assert_eq!(
        refused.status.phase,
        BackupPhase::FailedValidation,
        "{refused:?}"
    );
    let errors = &refused.status.validation_errors;
    let secrets = "user `bob` may not list secrets in namespace `shop`";
    assert!(errors.iter().any(|error| error == secrets), "{errors:?}");
    assert!(
        !errors.iter().any(|error| error.contains("configmaps")),
        "{errors:?}"
    );
    // Only what is listed is asked about; what it holds is asked before it is committed.
    let mut only = backup("b2");
    only.spec.included_resources = vec!["configmaps".to_owned()];
    tenants.create("bob", &only).await;
    let refused: Backup = tenants
        .world
        .until("b2", |b: &Backup| b.status.phase.is_final())
        .await;
    let errors = refused.status.validation_errors.join(" ");
    assert!(
        errors.contains("user `bob` may not get configmaps in namespace `shop`"),
        "{refused:?}"
    );
    let folders = tenants
        .world
        .store
        .list_folder("backups/b2")
        .await
        .expect("listed");
    let committed = folders
        .objects
        .iter()
        .any(|o| o.key.as_str().ends_with("velero-backup.json"));
    assert!(!committed, "{folders:?}");
    let done = tenants.backed_up("ann", "b3").await;
    assert_eq!(done.status.phase, BackupPhase::Completed, "{done:?}");
    // Everything at once is more than the one namespace.
    let mut all = both("b4");
    all.spec.included_namespaces = vec!["*".to_owned()];
    tenants.create("ann", &all).await;
    let refused: Backup = tenants
        .world
        .until("b4", |b: &Backup| b.status.phase.is_final())
        .await;
    let errors = &refused.status.validation_errors;
    assert!(
        errors
            .iter()
            .any(|error| error == "user `ann` may not list secrets"),
        "{errors:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_schedule_asks_for_its_runs_and_the_server_for_its_own_deletions() {
    let tenants = Tenants::new(&[ROOT]).await;
    let world = &tenants.world;
    let server = tenants.serve();
    let mut schedule = Schedule::named(NAMESPACE, "nightly");
    "0 2 1 1 *".clone_into(&mut schedule.spec.schedule);
    schedule.spec.template.included_namespaces = vec!["shop".to_owned()];
    // A run of it is overdue.
    schedule.status.last_backup = "2020-01-01T00:00:00Z".parse().ok();
    let run_of = async |schedule: &str| {
        let look = async || {
            let label = format!("{SCHEDULE_NAME}={schedule}");
            let backups: Vec<Backup> = world.kinds().list(Some(&label)).await.expect("listed");
            backups
                .into_iter()
                .find(|backup| backup.status.phase.is_final())
        };
        until(look).await
    };
    let mut silent = schedule.clone();
    "silent".clone_into(&mut silent.metadata.name);
    world.kinds().create(&silent).await.expect("created");
    let run = run_of("silent").await;
    assert_eq!(run.status.phase, BackupPhase::FailedValidation, "{run:?}");
    let said = run.status.validation_errors.join(" ");
    assert!(
        said.contains("annotate schedules.velero.io silent"),
        "{said}"
    );
    // Somebody takes it over, and pauses it, which is not asking for something else.
    let before: Schedule = world.get("silent").await.expect("there");
    let mut taken = before.clone();
    taken
        .metadata
        .annotations
        .insert(REQUESTED_BY.to_owned(), "me".to_owned());
    let taken = tenants
        .admit("root", Some(&before), &taken)
        .await
        .expect("admitted");
    assert!(taken.metadata.annotations[REQUESTED_BY].contains("root"));
    let mut forged = before.clone();
    forged
        .metadata
        .annotations
        .insert(REQUESTED_BY.to_owned(), "{}".to_owned());
    assert!(tenants.admit("tom", Some(&before), &forged).await.is_err());

    tenants.create("root", &schedule).await;
    let run = run_of("nightly").await;
    assert_eq!(run.status.phase, BackupPhase::Completed, "{run:?}");
    assert!(
        run.metadata.annotations[REQUESTED_BY].contains("\"root\""),
        "{run:?}"
    );
    server.stop().await;
    // It is over, and the server may collect it on its own account.
    let server = tenants.serve();
    let mut pinned = backup("b1");
    pinned.spec.ttl = "1s".parse().expect("time");
    tenants.create("root", &pinned).await;
    world.until_gone::<Backup>("b1").await;
    world.until_files_gone("b1").await;
    server.stop().await;
}

#[tokio::test]
async fn deletions_and_downloads_are_asked_about() {
    let tenants = Tenants::new(&[
        ROOT,
        ("ann", "get", "configmaps", "shop"),
        ("ann", "get", "namespaces", "shop"),
    ])
    .await;
    let world = &tenants.world;
    let server = tenants.serve();
    let mut small = backup("b1");
    small.spec.included_resources = vec!["configmaps".to_owned()];
    tenants.create("root", &small).await;
    world
        .until("b1", |b: &Backup| b.status.phase == BackupPhase::Completed)
        .await;
    let request = |name: &str, kind: DownloadTargetKind| {
        let mut request = DownloadRequest::named(NAMESPACE, name);
        request.spec.target.kind = kind;
        "b1".clone_into(&mut request.spec.target.name);
        request
    };
    for (name, user, kind, phase) in [
        (
            "d1",
            "tom",
            DownloadTargetKind::BackupContents,
            DownloadRequestPhase::Failed,
        ),
        (
            "d2",
            "tom",
            DownloadTargetKind::BackupLog,
            DownloadRequestPhase::Failed,
        ),
        (
            "d3",
            "ann",
            DownloadTargetKind::BackupContents,
            DownloadRequestPhase::Processed,
        ),
    ] {
        tenants.create(user, &request(name, kind)).await;
        let answered = |r: &DownloadRequest| !r.status.phase.is_unset();
        let status = world.until(name, answered).await.status;
        assert_eq!(status.phase, phase, "{status:?}");
        let told = status
            .message
            .contains("user `tom` may not get configmaps in namespace `shop`");
        assert_eq!(told, user == "tom", "{status:?}");
        assert_eq!(status.download_url.is_empty(), user == "tom");
    }
    let mut deletion = DeleteBackupRequest::named(NAMESPACE, "x1");
    "b1".clone_into(&mut deletion.spec.backup_name);
    tenants.create("tom", &deletion).await;
    let done = |d: &DeleteBackupRequest| d.status.phase == DeleteBackupRequestPhase::Processed;
    let errors = world.until("x1", done).await.status.errors.join(" ");
    assert_eq!(
        errors,
        "user `tom` may not delete backups.velero.io in namespace `velero`"
    );
    let backup: Backup = world.get("b1").await.expect("there");
    assert_eq!(backup.status.phase, BackupPhase::Completed);
    "x2".clone_into(&mut deletion.metadata.name);
    tenants.create("root", &deletion).await;
    world.until_gone::<Backup>("b1").await;
    // Which mode it works in is told.
    let object = ServerStatusRequest::named(NAMESPACE, "s");
    world.kinds().create(&object).await.expect("created");
    let done = |s: &ServerStatusRequest| s.status.phase == ServerStatusRequestPhase::Processed;
    let plugins = world.until("s", done).await.status.plugins;
    let strict = "salvor.dev/authorize-requests-strict";
    assert!(
        plugins.iter().any(|plugin| plugin.name == strict),
        "{plugins:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn admission_answers_only_at_its_own_path() {
    let tenants = Tenants::new(&[ROOT]).await;
    let server = tenants.serve();
    let path = tenants.path().await;
    let authority = published(&tenants.world).await;
    let question = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "1", "operation": "CREATE", "namespace": NAMESPACE,
            "userInfo": {"username": "root"}, "object": {"kind": "Restore", "spec": {}}}})
    .to_string();
    for (head, body, expected) in [
        (format!("POST {path}"), question.as_str(), 200),
        (format!("GET {path}"), "", 404),
        ("POST /admission".to_owned(), &question, 404),
        (format!("POST {}", &path[..path.len() - 1]), &question, 404),
        (
            format!("POST /admission/{}", "0".repeat(64)),
            &question,
            404,
        ),
        (format!("POST {path}"), "{", 400),
        (format!("POST {path}"), "{}", 400),
    ] {
        let mut stream = connect(tenants.admission, "localhost", &authority, None)
            .await
            .expect("TLS");
        let (status, _) = send(&mut stream, &head, body).await.expect("answered");
        assert_eq!(status, expected, "{head} {body}");
    }
    server.stop().await;
}
