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
