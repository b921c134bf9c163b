//! `retention plan`.

use crate::support::Place;

#[test]
fn a_retention_plan_says_what_would_go_and_why_and_removes_nothing() {
    let place = Place::with_cluster();
    for name in ["one", "two", "three"] {
        place.salvor(&["backup", "create", name]).expect(0);
    }
    let kept = place.salvor(&["retention", "plan", "--keep", "last=9"]);
    assert!(
        kept.expect(0).contains("keep 3, remove 0 of 3"),
        "{}",
        kept.out
    );
    let plan = place.salvor(&["retention", "plan", "--keep", "last=1"]);
    let text = plan.expect(1);
    assert!(text.contains("series (by hand): last=1"), "{text}");
    assert!(text.contains("keep 1, remove 2 of 3"), "{text}");
    assert_eq!(text.matches(" remove: ").count(), 2, "{text}");
    let left = place.salvor(&["backup", "get", "-o", "name"]);
    assert_eq!(left.expect(0).lines().count(), 3);
    let wrong = place.salvor(&["retention", "plan", "--keep", "last=few"]);
    wrong.expect(2);
    assert!(wrong.err.contains("few"), "{}", wrong.err);
}

#[test]
fn a_held_backup_stays_until_every_hold_is_released() {
    let place = Place::with_cluster();
    place.run("backup create one").expect(0);
    place.run("backup hold one").expect(2);
    place
        .salvor(&["backup", "hold", "one", "--reason", " "])
        .expect(2);
    place.run("backup hold other --reason audit").expect(3);
    for reason in ["audit", "court"] {
        place
            .salvor(&["backup", "hold", "one", "--reason", reason])
            .expect(0);
    }
    let refused = place.run("backup delete one --yes");
    refused.expect(4);
    assert!(
        refused.err.contains("audit") && refused.err.contains("court"),
        "{}",
        refused.err
    );
    let unclear = place.run("backup release one --yes");
    unclear.expect(2);
    assert!(unclear.err.contains("(audit, by "), "{}", unclear.err);
    place.run("backup release one no-such --yes").expect(3);
    place.run("backup release one --all").expect(4);
    place.run("backup release one --all --yes").expect(0);
    let none = place.run("backup release one --yes");
    none.expect(0);
    assert!(none.err.contains("is not held"), "{}", none.err);
    place.run("backup delete one --yes").expect(0);
}
