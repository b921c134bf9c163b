//! A full cluster is backed up, lost and recovered: into itself, and into another one that is empty.

use salvor_objects::diff::comparison::Snapshot;
use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;
use salvor_testkit::velero_check::check_location;

use crate::clusters::{FIRST, Real, SECOND, changed};
use crate::comparison::{contents, differences, unused};
use crate::counted::{self, Counted, Measure};
use crate::etcd_objects;
use crate::fixture::Fixture;

/// Restores twice and proves that the first brings everything back and the second does nothing.
async fn recovered(real: &Real, location: &str, fixture: &Fixture, before: &Snapshot, name: &str) {
    let line = |which: &str| {
        format!(
            "restore create {name}-{which} --from-backup all --preserve-nodeports --relink-owners \
             --status-include-resources gadgets.{} --yes",
            fixture.group
        )
    };
    let first = real.run(location, &line("first"));
    let told = |which: &str| {
        let described = real.run(location, &format!("restore describe {name}-{which}"));
        format!("{}{}", described.out, described.err)
    };
    assert_eq!(first.code, 0, "{}{}{}", first.out, first.err, told("first"));
    assert!(first.out.contains(" completed: "), "{}", first.out);
    assert!(!first.err.contains("see them with"), "{}", first.err);
    assert_eq!(warnings(&told("first")), Vec::<&str>::new());
    let after = real.settled().await;
    assert_eq!(unused(&[before, &after]), Vec::<String>::new());
    let group = &fixture.group;
    let found = differences(&contents(before, group), &contents(&after, group));
    assert_eq!(found, Vec::<String>::new(), "{name}");

    // Whatever controllers write meanwhile: the second restore sends nothing but reads.
    let Some(counted) = Counted::api_server(&real.kubeconfig).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = real.command(location, &line("second"));
    command.env("KUBECONFIG", counted.write_kubeconfig(folder.path()));
    let ended = counted::run(command, Measure::Writes(&counted), None);
    assert_eq!(ended.counted, 0, "{name}: {}", ended.at);
    let second = ended.run;
    assert_eq!(
        second.code,
        0,
        "{}{}{}",
        second.out,
        second.err,
        told("second")
    );
    assert!(
        second.out.contains("nothing had to be changed"),
        "{}",
        second.out
    );
    assert_eq!(warnings(&told("second")), Vec::<&str>::new());
    let again = real.settled().await;
    let written = changed(&after, &again);
    assert_eq!(
        written,
        Vec::<String>::new(),
        "{name}: written after the first restore"
    );
    let found = differences(&contents(&after, group), &contents(&again, group));
    assert_eq!(found, Vec::<String>::new(), "{name}");
}

/// The warnings that a described restore has.
fn warnings(described: &str) -> Vec<&str> {
    let block = described.split("\nWarnings:").nth(1).unwrap_or_default();
    let block = block.split("\n\n").next().unwrap_or_default();
    block
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.ends_with("<none>") && *line != "Namespaces:")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_cluster_comes_back_equal_from_a_folder_and_from_s3_into_itself_and_into_another() {
    let Some(home) = Real::connect(FIRST).await else {
        return;
    };
    let Some(other) = Real::connect(SECOND).await else {
        return;
    };
    let Some(s3) = or_skip(S3Server::start()) else {
        return;
    };
    s3.create_bucket("full", false).expect("a bucket");
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("file://{}", folder.path().display());
    let bucket = format!(
        "s3://full/clusters?endpoint=http://{}&region=us-east-1&pathStyle=true",
        s3.address()
    );

    let fixture = Fixture::new("full");
    let forgotten = fixture.forgotten(&home.cluster).await;
    assert_eq!(
        forgotten,
        Vec::<String>::new(),
        "add them to the fixture, or say why not"
    );
    fixture.fill(&home.cluster).await;
    let before = home.settled().await;
    etcd_objects::are_what_the_server_gives(&home).await;
    for location in [&file, &bucket] {
        // Without volume data, which is asked for by default where there are volumes.
        let made = home.run(location, "backup create all --snapshot-volumes=false");
        assert_eq!(made.code, 0, "{}{}", made.out, made.err);
        home.run(location, "backup verify all").expect(0);
    }

    for (location, name) in [(&file, "file"), (&bucket, "s3")] {
        home.remove(&fixture).await;
        let lost = contents(&home.settled().await, &fixture.group);
        let lost = differences(&contents(&before, &fixture.group), &lost);
        assert!(lost.len() > 80, "{lost:#?}");
        assert!(
            lost.iter().all(|line| line.ends_with(": lost")),
            "{lost:#?}"
        );
        recovered(&home, location, &fixture, &before, &format!("home-{name}")).await;
        recovered(
            &other,
            location,
            &fixture,
            &before,
            &format!("other-{name}"),
        )
        .await;
        other.remove(&fixture).await;
    }
    assert_eq!(check_location(folder.path()), Vec::<String>::new());
    home.remove(&fixture).await;
}
