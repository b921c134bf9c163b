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
                "in a second terminal",
            ],
        ),
        (
            "ko",
            [
                "클러스터를 백업하고",
                "네임스페이스 production",
                "다른 것이 없습니다",
                "salvor backup browse demo",
                "다른 터미널에서",
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
        for line in text.lines() {
            // What a line holds beside words cannot be broken.
            let longest = line.split(' ').map(str::len).max().unwrap_or(0);
            let columns = salvor_text::width::width(line);
            assert!(columns <= 80 || longest > 60, "{columns} columns: {line}");
        }
        let numbers = |marker: &str| {
            let at = text
                .find(marker)
                .unwrap_or_else(|| panic!("{marker} is not in:\n{text}"));
            let before = text[..at].rsplit(|c: char| !c.is_ascii_digit());
            before
                .into_iter()
                .find(|part| !part.is_empty())
                .map(str::parse::<u64>)
        };
        if language == "en" {
            let number = |marker| numbers(marker).expect("a number").expect("a number");
            let own = number(" that the cluster makes");
            assert_eq!(number(" objects are"), number(" missing,") + own, "{text}");
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
