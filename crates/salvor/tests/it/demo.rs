//! The demo tells its story in both languages and proves it.

use crate::support::Place;

#[test]
fn the_demo_recovers_everything_and_says_so_in_both_languages() {
    let place = Place::new();
    for (language, phrases) in [
        (
            "en",
            [
                "destroyed and recovered",
                "deleted namespace production",
                "nothing differs",
                "salvor backup browse demo",
                "kubectl --kubeconfig",
            ],
        ),
        (
            "ko",
            [
                "클러스터를 백업하고",
                "네임스페이스 production",
                "다른 것이 없습니다",
                "salvor backup browse demo",
                "kubectl --kubeconfig",
            ],
        ),
    ] {
        let folder = place.home.path().join(language);
        let shown = folder.display();
        let run = place.run(&format!("demo --lang {language} --dir {shown}"));
        let text = run.expect(0);
        for phrase in phrases {
            assert!(text.contains(phrase), "{phrase} is not in:\n{text}");
        }
        let list = place.run(&format!("backup get -o name --location {shown}"));
        assert_eq!(list.expect(0), "backup.velero.io/demo\n");
        place
            .run(&format!("backup verify --location {shown}"))
            .expect(0);
        let again = place.run(&format!("demo --dir {shown}"));
        assert_eq!(again.code, 4, "{}", again.err);
    }
}
