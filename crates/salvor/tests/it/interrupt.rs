//! Ctrl-C: what was begun stops at a safe point, and can be done again or gone on with.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use salvor_apiserver::{Fault, FaultRule};

use crate::support::{Place, Run};

/// How long the answer that the interruption falls into takes.
const SLOW: Duration = Duration::from_secs(3);

/// Starts the binary, interrupts it when it has done this to namespaces, while doing the same to config maps
/// is still slow, and returns how it ended.
pub(crate) fn interrupted(place: &Place, line: &str, verb: &str) -> Run {
    let resource = |name: &str| name.parse().expect("a resource");
    let rule = FaultRule::new(Fault::Delay(SLOW))
        .verb(verb)
        .resource(resource("configmaps"));
    place.server().faults().add(rule);
    let namespaces = resource("namespaces");
    let before = place.server().requests().count(verb, &namespaces);
    let args: Vec<&str> = line.split_whitespace().collect();
    let child: Child = place
        .command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    while place.server().requests().count(verb, &namespaces) == before {
        assert!(Instant::now() < deadline, "no {verb} of namespaces came");
        std::thread::yield_now();
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    let run = child.wait_with_output().expect("it ends").into();
    place.server().faults().clear();
    run
}

#[test]
fn an_interrupted_backup_is_no_backup_and_its_name_is_free() {
    let place = Place::with_cluster();
    let run = interrupted(&place, "backup create first", "list");
    assert_eq!(run.code, 130, "{}{}", run.out, run.err);
    assert!(run.err.contains("nothing was committed"), "{}", run.err);
    assert_eq!(place.run("backup get -o name").expect(0), "");
    place.run("backup create first").expect(0);
}

#[test]
fn an_interrupted_restore_says_how_to_go_on_and_does() {
    let place = Place::with_cluster();
    place
        .run("backup create first --include-namespaces shop")
        .expect(0);
    place.delete("namespace", None, "shop");
    let run = interrupted(&place, "restore create back --from-backup first", "create");
    assert_eq!(run.code, 130, "{}{}", run.out, run.err);
    assert!(
        run.err.contains("salvor restore create back --resume"),
        "{}",
        run.err
    );
    place.run("restore create back --resume").expect(0);
    place.run("backup diff first").expect(0);
}
