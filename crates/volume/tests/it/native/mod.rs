//! Snapshots by EBS against moto's EC2, a protocol server: it checks no signature and keeps no bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use salvor_api::meta::StringMap;
use salvor_testkit::ec2_server::Ec2Server;
use salvor_testkit::fault_proxy::{Fault, FaultProxy};
use salvor_testkit::process::or_skip;
use salvor_volume::native::{
    Ebs, MakeVolume, NativeError, RUN_TAG, Snapshotter, Take, VolumeKind, Waited, wait_until_ready,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const REGION: &str = "eu-west-1";

fn ebs(address: &str, credentials: &tempfile::NamedTempFile) -> Ebs {
    let text = "[default]\naws_access_key_id=test\naws_secret_access_key=hunter2\n";
    std::fs::write(credentials.path(), text).expect("written");
    let options = BTreeMap::from([
        ("region".to_owned(), REGION.to_owned()),
        ("endpoint".to_owned(), format!("http://{address}")),
        (
            "credentialsFile".to_owned(),
            credentials.path().display().to_string(),
        ),
    ]);
    Ebs::new(&options).expect("usable")
}

fn file() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new().expect("a file")
}

fn tags() -> StringMap {
    StringMap::from([
        ("velero.io/backup".to_owned(), "nightly".to_owned()),
        (RUN_TAG.to_owned(), "run-1".to_owned()),
    ])
}

fn take<'a>(volume: &'a str, tags: &'a StringMap, token: &'a str) -> Take<'a> {
    Take {
        volume,
        zone: "eu-west-1a",
        tags,
        token,
    }
}

fn of_csi(handle: &str) -> Value {
    json!({"metadata": {"name": "pv"},
        "spec": {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": handle}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_snapshotted_restored_and_deleted_once_however_often_it_is_asked() {
    let Some(ec2) = or_skip(Ec2Server::start(REGION)) else {
        return;
    };
    let file = file();
    let ebs = ebs(ec2.address(), &file);
    let volume = ec2.create_volume("eu-west-1a", 5, "gp3").expect("a volume");
    let id = ebs.volume_id(&of_csi(&volume)).await.expect("of EBS");
    assert_eq!(id.as_deref(), Some(volume.as_str()));
    let kind = ebs.kind(&volume, "eu-west-1a").await.expect("described");
    assert_eq!(kind.volume_type, "gp3");
    assert_eq!(kind.iops, Some(3000));

    let tags = tags();
    let taken = ebs.take(take(&volume, &tags, "run-1/pv")).await;
    let taken = taken.expect("taken");
    let again = ebs.take(take(&volume, &tags, "run-1/pv")).await;
    assert_eq!(again.expect("found").id, taken.id);
    let other = ebs.take(take(&volume, &tags, "run-2/pv")).await;
    assert_ne!(other.expect("taken").id, taken.id);
    let cancel = CancellationToken::new();
    let waited = wait_until_ready(&ebs, &taken.id, Duration::from_secs(60), &cancel);
    let Waited::Ready(ready) = waited.await.expect("looked at") else {
        panic!("it is ready at once");
    };
    assert_eq!(ready.bytes, Some(5 << 30));
    let shown = ec2.tags(&taken.id).expect("listed");
    assert_eq!(shown["velero.io/backup"], "nightly");
    let mut of_run = ebs.taken_in("run-1").await.expect("listed");
    of_run.sort();
    assert_eq!(of_run, ec2.snapshots().expect("listed"), "all of the run");
    assert!(ebs.taken_in("run-0").await.expect("listed").is_empty());

    let ask = MakeVolume {
        snapshot: &taken.id,
        zone: "eu-west-1b",
        kind: &kind,
        token: "restore-1/pv",
    };
    let made = ebs.make_volume(ask).await.expect("made");
    assert_ne!(made, volume);
    assert_eq!(ebs.make_volume(ask).await.expect("found"), made);
    assert_eq!(ec2.zone_of(&made).expect("described"), "eu-west-1b");
    assert_eq!(ebs.kind(&made, "").await.expect("described"), kind);
    let shown = ec2.tags(&made).expect("listed");
    assert_eq!(shown["velero.io/backup"], "nightly");
    let renamed = ebs.set_volume_id(&of_csi(&volume), &made).await;
    assert_eq!(renamed.expect("of EBS"), of_csi(&made));

    for _ in 0..2 {
        ebs.delete(&taken.id)
            .await
            .expect("gone, also the second time");
    }
    let gone = ebs.look(&taken.id).await.expect_err("deleted");
    assert!(matches!(gone, NativeError::NotFound { .. }), "{gone:?}");
    let unmade = ebs
        .make_volume(MakeVolume {
            token: "restore-2/pv",
            ..ask
        })
        .await;
    assert!(matches!(
        unmade.expect_err("no snapshot"),
        NativeError::NotFound { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_wants_less_is_asked_again_and_an_answer_that_was_lost_is_found() {
    let Some(ec2) = or_skip(Ec2Server::start(REGION)) else {
        return;
    };
    let proxy = FaultProxy::start(ec2.address()).await.expect("a port");
    let file = file();
    let ebs = ebs(&proxy.address().to_string(), &file);
    let volume = ec2.create_volume("eu-west-1a", 1, "gp2").expect("a volume");
    let slower = Fault::Answer {
        status: 503,
        retry_after: None,
        body: "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message>\
               </Error></Errors></Response>",
    };
    proxy.fail(3, slower, |_| true);
    let kind = ebs.kind(&volume, "").await.expect("asked again");
    assert_eq!(
        kind,
        VolumeKind {
            volume_type: "gp2".into(),
            iops: None
        }
    );

    // The volume is described, the token looked for, the snapshot made: that answer is lost.
    let mut seen = 0;
    proxy.plan(move |_| {
        seen += 1;
        (seen == 3).then_some(Fault::CutAfter)
    });
    let tags = tags();
    let taken = ebs.take(take(&volume, &tags, "run-1/pv")).await;
    let taken = taken.expect("found by its token");
    assert_eq!(ec2.snapshots().expect("listed"), [taken.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_is_told_in_its_words() {
    let Some(ec2) = or_skip(Ec2Server::start(REGION)) else {
        return;
    };
    let proxy = FaultProxy::start(ec2.address()).await.expect("a port");
    let file = file();
    let ebs = ebs(&proxy.address().to_string(), &file);
    let missing = ebs.kind("vol-0", "").await.expect_err("no such volume");
    let text = missing.told();
    assert!(
        matches!(missing, NativeError::NotFound { .. }) && text.contains("InvalidVolume.NotFound"),
        "{text}"
    );
    let denied = Fault::Answer {
        status: 403,
        retry_after: None,
        body: "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to \
               perform: ec2:DescribeVolumes</Message></Error></Errors></Response>",
    };
    proxy.fail(1, denied, |_| true);
    let refused = ebs.kind("vol-0", "").await.expect_err("denied");
    let text = refused.told();
    assert!(
        !refused.is_retryable()
            && text.contains("look at volume vol-0")
            && text.contains("ec2:DescribeVolumes"),
        "{text}"
    );
    assert!(!text.contains("hunter2"));
    let nonsense = Fault::Answer {
        status: 200,
        retry_after: None,
        body: "<a><b>",
    };
    proxy.fail(1, nonsense, |_| true);
    let odd = ebs.kind("vol-0", "").await.expect_err("no document");
    assert!(odd.told().contains("does not end"), "{}", odd.told());
}
