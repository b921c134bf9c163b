//! Whole stories: back up, lose, compare, recover.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::Place;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_namespace_is_backed_up_lost_compared_and_restored() {
    let place = Place::with_cluster();
    let created = place.run("backup create first --include-namespaces shop");
    assert!(
        created.expect(0).starts_with("backup first completed:"),
        "{}",
        created.out
    );
    assert!(created.err.contains("temporary"), "{}", created.err);

    let table = place.run("backup get");
    let text = table.expect(0);
    assert!(text.starts_with("NAME    STATUS"), "{text}");
    assert!(text.contains("Completed"), "{text}");
    let one = json(place.run("get backup first -o json").expect(0));
    assert_eq!(one["kind"], "Backup");
    assert_eq!(one["status"]["phase"], "Completed");
    let yaml = place.run("backup get first -o yaml");
    assert!(yaml.expect(0).starts_with("apiVersion: velero.io/v1\n"));
    assert_eq!(
        place.run("backup get -o name").expect(0),
        "backup.velero.io/first\n"
    );
    let described = place.run("backup describe first --details");
    for expected in [
        "Included:  shop",
        "apps/v1/Deployment:",
        "- shop/web",
        "Kept:",
    ] {
        let text = described.expect(0);
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!place.run("backup logs first").expect(0).is_empty());
    place.run("backup verify").expect(0);

    assert_eq!(place.run("backup diff first").expect(0), "");
    place.delete("namespace", None, "shop");
    let differs = place.run("backup diff first live");
    assert!(differs.expect(1).contains("color"), "{}", differs.out);
    assert!(!differs.out.contains("aHVudGVyMg"), "a secret is shown");

    let plan = place.run("restore create --from-backup first --dry-run");
    assert!(plan.expect(0).contains("create"), "{}", plan.out);
    assert_eq!(place.get("namespace", None, "shop"), None);
    let planned = place.run("restore create --from-backup first --dry-run -o json");
    json(planned.expect(0));

    let restored = place.run("restore create back --from-backup first");
    assert!(
        restored.expect(0).starts_with("restore back completed:"),
        "{}",
        restored.out
    );
    assert_eq!(place.run("backup diff first").expect(0), "");
    let web = place.get("deployment", Some("shop"), "web").expect("back");
    assert_eq!(web["spec"]["replicas"], 2);
    assert!(place.run("restore get").expect(0).contains("back"));
    let described = place.run("describe restore back");
    assert!(described.expect(0).contains("Backup:  first"));
    place.run("restore logs back").expect(0);

    let again = place.run("restore create back --from-backup first");
    assert_eq!(again.code, 4, "{}", again.err);
    let twice = place.run("restore create second --from-backup first");
    assert!(
        twice.expect(0).contains("nothing had to be changed"),
        "{}",
        twice.out
    );
    assert!(!twice.err.contains("warning"), "{}", twice.err);
    place.run("restore delete back --yes").expect(0);
    assert_eq!(place.run("restore describe back").code, 3);
}

#[test]
fn how_long_it_will_take_is_told_by_what_was_measured_before() {
    let place = Place::with_cluster();
    let unknown = "estimated time: unknown, as nothing was measured here yet";
    let first = place.run("backup create b1 --include-namespaces shop");
    first.expect(0);
    assert!(first.err.contains(unknown), "{}", first.err);
    let second = place.run("backup create b2 --include-namespaces shop");
    second.expect(0);
    let about = "(measured on 1 earlier run: ";
    assert!(second.err.contains(about), "{}", second.err);
    let other = place.run("backup create b3 --include-namespaces kube-system");
    other.expect(0);
    let not_like = "no earlier run was of the same selection (2 earlier runs made ";
    assert!(other.err.contains(not_like), "{}", other.err);

    place.delete("namespace", None, "shop");
    let restored = place.run("restore create r1 --from-backup b1");
    restored.expect(0);
    assert!(restored.err.contains(unknown), "{}", restored.err);
    let restored = place.run("restore create r2 --from-backup b2 --lang ko");
    restored.expect(0);
    let told = "예상 시간: 오브젝트";
    assert!(restored.err.contains(told), "{}", restored.err);
}

#[test]
fn one_object_or_one_namespace_is_undeleted_with_what_it_needs() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    place.delete("deployment", Some("shop"), "web");
    place.delete("configmap", Some("shop"), "settings");
    let preview = place.run("undelete deployment/web --dry-run");
    assert!(
        preview.expect(0).contains("shop/settings"),
        "{}",
        preview.out
    );
    assert_eq!(place.get("deployment", Some("shop"), "web"), None);
    let unconfirmed = place.run("undelete deployment/web -n shop");
    assert_eq!(unconfirmed.code, 4, "{}", unconfirmed.err);
    place.run("undelete deploy/shop/web --yes").expect(0);
    assert!(place.get("deployment", Some("shop"), "web").is_some());
    assert!(place.get("configmap", Some("shop"), "settings").is_some());

    place.delete("namespace", None, "shop");
    // The newest backup does not have it; the newest that has it is taken.
    let narrow = "backup create later --include-namespaces default";
    place.run(narrow).expect(0);
    let back = place.run("undelete namespace/shop --yes");
    back.expect(0);
    assert!(back.err.contains("first"), "{}", back.err);
    assert!(place.get("service", Some("shop"), "web").is_some());
    assert_eq!(place.run("undelete deployment/web -n other --yes").code, 3);
    assert_eq!(place.run("undelete deployment/nothing --yes").code, 3);
    assert_eq!(place.run("undelete spaceship/web --yes").code, 3);
}

#[test]
fn another_cluster_is_asked_about_before_anything_is_restored_into_it() {
    let mut place = Place::with_cluster();
    place
        .run("backup create first --include-namespaces shop")
        .expect(0);
    place.new_cluster(2);
    let none = place.run("undelete namespace/shop --yes");
    assert_eq!(none.code, 3, "{}", none.err);
    assert!(
        none.err.contains("no backup of this cluster"),
        "{}",
        none.err
    );
    let refused = place.run("restore create back --from-backup first");
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("migration"), "{}", refused.err);
    assert_eq!(place.get("namespace", None, "shop"), None);
    place
        .run("restore create back --from-backup first --yes")
        .expect(0);
    assert!(place.get("deployment", Some("shop"), "web").is_some());
    let mapped = place
        .run("restore create other --from-backup first --namespace-mappings shop:rehearsal --yes");
    mapped.expect(0);
    assert!(place.get("service", Some("rehearsal"), "web").is_some());
}

#[test]
fn nothing_is_deleted_without_a_confirmation() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    let refused = place.run("backup delete first");
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(
        refused.err.contains("will be deleted for good"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    place.run("backup describe first").expect(0);
    place.run("delete backup first --confirm").expect(0);
    assert_eq!(place.run("backup describe first").code, 3);
    assert_eq!(place.run("backup delete first --yes").code, 3);
}

#[test]
fn a_name_is_used_once_and_a_dry_look_creates_nothing() {
    let place = Place::with_cluster();
    let printed = place.run("backup create first --labels a=1 --ttl 1h -o yaml");
    assert!(printed.expect(0).contains("ttl: 1h0m0s"), "{}", printed.out);
    assert!(!place.location().exists());
    place.run("create backup first").expect(0);
    let again = place.run("backup create first");
    assert_eq!(again.code, 4, "{}", again.err);
    assert!(again.err.contains("first"), "{}", again.err);
}

#[test]
fn volume_data_that_was_asked_for_is_never_silently_missing() {
    let place = Place::with_cluster();
    let size = serde_json::json!({"storage": "1Gi"});
    let modes = ["ReadWriteOnce"];
    place.apply(&[
        serde_json::json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-data"},
            "spec": {"capacity": size, "accessModes": modes, "hostPath": {"path": "/data"},
                     "persistentVolumeReclaimPolicy": "Retain",
                     "claimRef": {"namespace": "shop", "name": "data"}},
        }),
        serde_json::json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "shop"},
            "spec": {"accessModes": modes, "resources": {"requests": size},
                     "volumeName": "pv-data"},
        }),
    ]);
    let plain = place.run("backup create plain");
    plain.expect(0);
    assert!(plain.err.contains("warning"), "{}", plain.err);
    let asked = place.run("backup create asked --snapshot-volumes");
    assert!(
        asked.expect(5).contains("partially failed"),
        "{}",
        asked.out
    );
    let described = place.run("backup describe asked");
    assert!(
        described.expect(0).contains("shop/data"),
        "{}",
        described.out
    );
    let flag = place.run("backup create flag --data-mover velero --include-resources secrets");
    flag.expect(0);
    assert!(
        flag.err.contains("--data-mover has no effect"),
        "{}",
        flag.err
    );
    let flag = place.run("restore create r --from-backup flag --write-sparse-files");
    flag.expect(0);
    assert!(
        flag.err.contains("--write-sparse-files has no effect"),
        "{}",
        flag.err
    );
    let policy = place.run("backup create policy --resource-policies-configmap p");
    assert_eq!(policy.code, 2, "{}", policy.err);
    assert!(
        policy.err.contains("there is no configmap p"),
        "{}",
        policy.err
    );
}

#[test]
fn damage_is_found_and_named() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    let archive = place.location().join("backups/first/first.tar.gz");
    let mut bytes = std::fs::read(&archive).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::set_permissions(&archive, std::fs::Permissions::from_mode(0o600)).expect("mine");
    std::fs::write(&archive, &bytes).expect("written");
    let verified = place.run("backup verify first");
    assert!(
        verified.expect(7).contains("first.tar.gz"),
        "{}",
        verified.out
    );
    let report = json(place.run("backup verify -o json").expect(7));
    assert_eq!(report[0]["sound"], false);

    std::fs::write(
        place.location().join("backups/first/velero-backup.json"),
        "{",
    )
    .expect("written");
    let table = place.run("backup get");
    assert_eq!(table.code, 5, "{}", table.err);
    assert!(table.err.contains("first"), "{}", table.err);
}

#[test]
fn a_backup_is_downloaded_and_exported_for_its_owner_only() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    place.run("backup download first").expect(0);
    let file = place.home.path().join("first-data.tar.gz");
    let private = |path: &std::path::Path| {
        let mode = std::fs::metadata(path).expect("there").permissions().mode();
        mode & 0o077 == 0
    };
    assert!(private(&file));
    assert_eq!(place.run("backup download first").code, 4);
    place.run("backup download first --force").expect(0);

    let archive = place.location().join("backups/first/first.tar.gz");
    let whole = std::fs::read(&archive).expect("readable");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for (bytes, expected) in [(&damaged[..], "SHA-256"), (&whole[1..], "bytes instead of")] {
        std::fs::write(&archive, bytes).expect("written");
        let copied = place.run("backup download first --force");
        assert_eq!(copied.code, 7, "{}", copied.err);
        assert!(copied.err.contains(expected), "{}", copied.err);
        assert_eq!(std::fs::read(&file).expect("kept"), bytes);
        assert_eq!(place.run("backup download first -o -").code, 7);
    }
    std::fs::write(&archive, &whole).expect("written");

    place
        .run("backup export first -o out --include-namespaces shop")
        .expect(0);
    let folder = place.home.path().join("out/namespaces/shop");
    let deployments = folder.join("deployments.apps.yaml");
    assert!(private(&folder) && private(&deployments));
    let text = std::fs::read_to_string(&deployments).expect("readable");
    assert!(text.contains("image: web:1"), "{text}");
    assert!(
        !text.contains("resourceVersion") && !text.contains("\nstatus:"),
        "{text}"
    );
    assert_eq!(place.run("backup export first -o out").code, 4);
    let all = place.run("backup export first -o - --include-resources configmaps --raw");
    assert!(all.expect(0).contains("resourceVersion"), "{}", all.out);
}

#[test]
fn a_restore_of_what_is_not_there_says_so() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    for (name, flags) in [
        ("one", "--include-namespaces shp"),
        ("two", "--namespace-mappings shp:rehearsal"),
    ] {
        let line = format!("restore create {name} --from-backup first {flags}");
        let restored = place.run(&line);
        restored.expect(0);
        let text = "the backup holds nothing of namespace shp";
        assert!(restored.err.contains(text), "{}", restored.err);
        assert!(restored.err.contains("warning"), "{}", restored.err);
    }
    let nothing = place.run("restore create three --from-backup first --include-resources shops");
    assert!(
        nothing.err.contains("the filters select no object"),
        "{}",
        nothing.err
    );
    let empty = place.run("backup create second --include-namespaces nothing-like-it*");
    assert!(empty.err.contains("1 warning"), "{}", empty.err);
}

#[test]
fn a_backup_without_digests_is_verified_by_reading_it() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    let folder = place.location().join("backups/first");
    for file in ["salvor-manifest.json", "salvor-index.zst"] {
        std::fs::remove_file(folder.join(file)).expect("removed");
    }
    let record = folder.join("velero-backup.json");
    let mut backup = json(&std::fs::read_to_string(&record).expect("readable"));
    backup["metadata"]["annotations"]
        .as_object_mut()
        .expect("annotations")
        .remove("salvor.dev/manifest-sha256");
    std::fs::write(&record, backup.to_string()).expect("written");
    let read = place.run("backup verify first");
    assert!(
        read.expect(0).contains("can be read to its end"),
        "{}",
        read.out
    );
    assert!(!read.out.contains("intact"), "{}", read.out);

    let archive = folder.join("first.tar.gz");
    let whole = std::fs::read(&archive).expect("readable");
    std::fs::write(&archive, &whole[..whole.len() / 2]).expect("written");
    let cut = place.run("backup verify first");
    assert!(cut.expect(7).contains("first.tar.gz"), "{}", cut.out);
    std::fs::remove_file(&archive).expect("removed");
    place.run("backup verify first").expect(7);
}

#[test]
fn a_folder_that_is_not_there_is_not_a_location_without_backups() {
    let place = Place::with_cluster();
    let file = place.home.path().join("file");
    std::fs::write(&file, "").expect("written");
    for path in [file, place.home.path().join("no/such/folder")] {
        for command in ["backup get", "restore get", "backup verify"] {
            let answer = place.run(&format!("{command} --location {}", path.display()));
            assert_eq!(answer.code, 3, "{command}: {}", answer.err);
            let shown = path.display().to_string();
            assert!(answer.err.contains(&shown), "{}", answer.err);
        }
    }
}

#[test]
fn a_backup_of_nothing_but_unknown_resources_is_refused_with_near_misses() {
    let place = Place::with_cluster();
    let refused = place.run("backup create first --include-resources deploymnets,secrts");
    assert_eq!(refused.code, 2, "{}", refused.err);
    for part in ["`deploymnets`", "`secrts`", "deployments.apps", "secrets"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    assert!(!place.location().exists(), "nothing was written");
    let far = place.run("backup create first --include-resources spaceships");
    assert!(far.err.contains("kubectl api-resources"), "{}", far.err);
    let some = place.run("backup create first --include-resources secrets,spaceships");
    some.expect(0);
    let described = place.run("backup describe first");
    assert!(
        described.expect(0).contains("spaceships"),
        "{}",
        described.out
    );
}
