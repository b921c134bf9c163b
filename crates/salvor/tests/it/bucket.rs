//! Locations in a bucket whose rules and storage classes matter.

use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;

use crate::support::{Place, Run};

/// A bucket, and a place whose commands work on it.
struct Bucket {
    s3: S3Server,
    place: Place,
}

impl Bucket {
    fn start() -> Option<Self> {
        let s3 = or_skip(S3Server::start())?;
        s3.create_bucket("shared", false).expect("a bucket");
        Some(Self {
            s3,
            place: Place::with_cluster(),
        })
    }

    fn run(&self, line: &str) -> Run {
        let url = format!(
            "s3://shared/clusters?endpoint=http://{}&region=us-east-1",
            self.s3.address()
        );
        let args: Vec<&str> = line.split_whitespace().collect();
        let mut command = self.place.command(&args);
        command
            .env("SALVOR_LOCATION", url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "hunter2");
        command.output().expect("the binary runs").into()
    }
}

#[test]
fn a_check_refuses_a_bucket_that_deletes_or_locks_by_itself() {
    let Some(bucket) = Bucket::start() else {
        return;
    };
    let check = bucket.run("backup-location check");
    let text = check.expect(0);
    for said in [
        "versioning",
        "off: what is deleted is gone",
        "default retention",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let lifecycle = "<LifecycleConfiguration>\
        <Rule><ID>logs</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>\
          <Expiration><Days>1</Days></Expiration></Rule>\
        <Rule><ID>clean</ID><Filter><Prefix>clusters/backups/</Prefix></Filter><Status>Enabled</Status>\
          <Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    let done = bucket.s3.configure("shared", "?lifecycle", lifecycle);
    done.expect("configured");
    let check = bucket.run("backup-location check");
    let text = check.expect(1);
    assert!(
        text.contains("rule `clean` deletes `backups/` after 30 days"),
        "{text}"
    );
    assert!(!text.contains("logs"), "{text}");
    let described = bucket.run("backup-location describe");
    let text = described.expect(0);
    assert!(
        text.contains("Bucket rule:") && text.contains("rule `clean`"),
        "{text}"
    );
    assert!(!text.contains("hunter2"));
}

#[test]
fn an_archived_backup_is_listed_and_says_how_to_thaw_it_before_it_is_restored() {
    let Some(bucket) = Bucket::start() else {
        return;
    };
    bucket
        .run("backup create b1 --include-namespaces shop")
        .expect(0);
    let moved = bucket.run("backup archive b1 --to DEEP_ARCHIVE");
    let text = moved.expect(0);
    assert!(text.contains("salvor backup thaw b1"), "{text}");
    assert_eq!(
        bucket.run("backup archive b1 --to DEEP_ARCHIVE").code,
        0,
        "twice is once"
    );
    for command in ["backup get", "backup describe b1"] {
        let shown = bucket.run(command);
        let text = shown.expect(0);
        assert!(
            text.contains("DEEP_ARCHIVE, retrieval 12h"),
            "{command}: {text}"
        );
    }
    let verified = bucket.run("backup verify b1");
    assert!(
        verified.out.contains("must be thawed"),
        "{}{}",
        verified.out,
        verified.err
    );
    let refused = bucket.run("restore create r1 --from-backup b1");
    assert_eq!(refused.code, 4, "{}{}", refused.out, refused.err);
    assert!(
        refused.err.contains("salvor backup thaw NAME"),
        "{}",
        refused.err
    );

    // moto thaws at once.
    let thawed = bucket.run("backup thaw b1");
    assert!(
        thawed.expect(0).contains("can be read until"),
        "{}",
        thawed.out
    );
    bucket.place.delete("namespace", None, "shop");
    bucket.run("restore create r2 --from-backup b1").expect(0);
    bucket.run("backup delete b1 --yes").expect(0);
    bucket
        .run("backup create b1 --include-namespaces shop")
        .expect(0);
    let fresh = bucket.run("backup get");
    assert!(!fresh.expect(0).contains("DEEP_ARCHIVE"), "{}", fresh.out);

    let plan = "retention plan --keep last=3,archive=0h:GLACIER";
    let planned = bucket.run(plan);
    assert!(
        planned.out.contains("keep: last good one"),
        "{}",
        planned.out
    );
}

#[test]
fn a_folder_has_no_storage_classes_and_says_so() {
    let place = Place::with_cluster();
    place
        .run("backup create b1 --include-namespaces shop")
        .expect(0);
    let refused = place.run("backup archive b1 --to GLACIER");
    assert_ne!(refused.code, 0);
    assert!(
        refused.err.contains("not supported by this store"),
        "{}",
        refused.err
    );
    let thawed = place.run("backup thaw b1");
    assert!(
        thawed.expect(0).contains("can be read now"),
        "{}",
        thawed.out
    );
}
