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
