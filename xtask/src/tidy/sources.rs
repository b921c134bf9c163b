//! Rules about single files: words, paths, hosts, forms.

use super::{Finding, Source};

/// Text that no committed file may hold, and why. The needles are put together from pieces so that
/// this file passes its own check.
const NEEDLES: &[(&str, &str)] = &[
    (concat!("deb.", "debian.org"), HOST),
    (concat!("snapshot.", "debian.org"), HOST),
    (concat!("crates", ".io"), HOST),
    (concat!("pypi", ".org"), HOST),
    (concat!("registry.", "npmjs"), HOST),
    (concat!("proxy.", "golang.org"), HOST),
    (concat!("artifact", "registry"), HOST),
    (concat!(".pkg", ".dev"), HOST),
    (concat!("shared/", "design"), PLACE),
    (concat!("shared/", "reference"), PLACE),
    (concat!("engine-", "decisions.md"), PLACE),
    (concat!("testbed", ".md"), PLACE),
    (concat!("mission-", "checklist"), PLACE),
    (concat!("/root", "/."), PLACE),
    (concat!("clau", "de"), TOOL),
    (concat!("anthro", "pic"), TOOL),
    (concat!("chat", "gpt"), TOOL),
    (concat!("language ", "model"), TOOL),
    (concat!("ai-", "generated"), TOOL),
    (concat!("sub-", "agent"), TOOL),
    (concat!("working ", "agreement"), TOOL),
    (concat!("<<<<", "<<<"), "a merge conflict"),
];

const HOST: &str = "name of a package registry: take it from the machine's configuration";
const PLACE: &str = "a file that is not in this repository";
const TOOL: &str = "the project speaks of itself alone";

/// A root that exists on one machine only.
const MACHINE_ROOT: &str = concat!("/wo", "rk/");

/// Marks of unfinished work.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// Lines of a file above which it holds more than one story.
const LONG: usize = 900;

/// The one place where locked dependencies come from.
const INDEX: &str = concat!("registry+https://github.com/rust-lang/crates", ".io-index");

/// Every breach of a rule in one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let Source { path, text } = source;
    if path == "Cargo.lock" {
        return check_lock_file(text);
    }
    let mut findings = Vec::new();
    let mut report =
        |line: usize, reason: String| findings.push(format!("{path}:{line}: {reason}"));
    if is_root_module(path) && !text.starts_with("//!") {
        report(
            1,
            "opens with `//!`: what it is, invariants, where to start reading".to_owned(),
        );
    }
    if path.contains("/fixtures/") {
        return findings;
    }
    let rust = path.ends_with(".rs");
    let prose = path.ends_with(".md");
    let mut tests = is_test_file(path);
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        tests |= rust && trimmed.starts_with("mod tests");
        fenced ^= prose && trimmed.starts_with("```");
        let lower = line.to_lowercase();
        for (needle, reason) in NEEDLES.iter().filter(|(needle, _)| lower.contains(needle)) {
            report(number, format!("`{needle}`: {reason}"));
        }
        if line
            .split([' ', '"', '\'', '`', '(', '=', ':'])
            .any(|w| w.starts_with(MACHINE_ROOT))
        {
            report(number, format!("`{MACHINE_ROOT}`: {PLACE}"));
        }
        let comment = rust.then(|| comment_of(line)).flatten();
        if rust || prose || path.ends_with(".toml") || path.starts_with(".ci/") {
            for word in UNFINISHED.iter().filter(|word| has_word(line, word)) {
                report(number, format!("`{word}`: finish it, or open an issue"));
            }
        }
        if comment.is_some_and(promises_later_work) {
            report(number, "a comment that promises later work".to_owned());
        }
        if let Some(text) = comment.or((prose && !fenced).then_some(line))
            && let Some(reference) = tracker_reference(text)
        {
            report(
                number,
                format!("`{reference}`: say what was decided, not where"),
            );
        }
        if rust && trimmed.starts_with(concat!("#[ig", "nore")) {
            report(number, "a test that never runs".to_owned());
        }
        if tests && !trimmed.starts_with("//") && is_sleep(trimmed) {
            report(
                number,
                "a test that sleeps: wait for a condition, or pause the clock".to_owned(),
            );
        }
    }
    findings
}

/// Rust files that are longer than a story, for information.
pub(super) fn long_files(sources: &[Source]) -> Vec<String> {
    let lines = |source: &Source| source.text.lines().count();
    sources
        .iter()
        .filter(|source| source.path.ends_with(".rs") && lines(source) > LONG)
        .map(|source| format!("{}: {} lines", source.path, lines(source)))
        .collect()
}

fn check_lock_file(text: &str) -> Vec<Finding> {
    let source = |line: &str| {
        line.strip_prefix("source = ")
            .map(|s| s.trim_matches('"').to_owned())
    };
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| Some((number, source(line)?)))
        .filter(|(_, source)| source != INDEX)
        .map(|(number, source)| format!("Cargo.lock:{number}: a dependency from {source}"))
        .collect()
}

fn is_root_module(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    matches!(parts.next(), Some("lib.rs" | "main.rs")) && parts.next() == Some("src")
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("crates/")
        && path.ends_with(".rs")
        && (path.contains("/tests/") || path.ends_with("/tests.rs"))
}

/// The text of a line comment, with what stands before it cut off.
fn comment_of(line: &str) -> Option<&str> {
    let start = line.find("//")?;
    // `https://` in a string is no comment.
    let before = line[..start].chars().next_back();
    (before != Some(':')).then(|| &line[start..])
}

fn promises_later_work(comment: &str) -> bool {
    let words: Vec<String> = comment
        .split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .collect();
    words.windows(2).any(|pair| pair == ["for", "now"])
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|found| found == word)
}

/// `#12` as a word of its own, as trackers write it; `owner/name#12` names a public place and stays.
fn tracker_reference(text: &str) -> Option<&str> {
    text.split([' ', '(', ',', ')', '.', ':', ';'])
        .find(|word| {
            let digits = word.strip_prefix('#').unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
}

fn is_sleep(line: &str) -> bool {
    [
        concat!("thread::sl", "eep("),
        concat!("time::sl", "eep("),
        concat!(" sl", "eep(Duration"),
    ]
    .iter()
    .any(|call| line.contains(call))
        || line.starts_with(concat!("sl", "eep("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Source {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn finds_each_kind_of_breach_with_its_line() {
        for (path, text, finding) in [
            (
                "crates/api/src/lib.rs",
                "use x;\n",
                "crates/api/src/lib.rs:1: opens with `//!`: what it is, invariants, where to start reading",
            ),
            (
                "a/b.rs",
                concat!("\n// TO", "DO: more\n"),
                concat!("a/b.rs:2: `TO", "DO`: finish it, or open an issue"),
            ),
            (
                "a/b.rs",
                concat!("    #[ig", "nore]\n"),
                "a/b.rs:1: a test that never runs",
            ),
            (
                "a/b.rs",
                concat!("x(); // enough for ", "now\n"),
                "a/b.rs:1: a comment that promises later work",
            ),
            (
                "docs/a.md",
                concat!("See #", "12, it explains.\n"),
                concat!("docs/a.md:1: `#", "12`: say what was decided, not where"),
            ),
            (
                "crates/api/tests/it/x.rs",
                concat!("std::thread::sl", "eep(d);\n"),
                "crates/api/tests/it/x.rs:1: a test that sleeps: wait for a condition, or pause the clock",
            ),
            (
                "README.md",
                concat!("see `/wo", "rk/plan`\n"),
                concat!(
                    "README.md:1: `/wo",
                    "rk/`: a file that is not in this repository"
                ),
            ),
            (
                "x.yaml",
                concat!("host: DEB.", "debian.org\n"),
                concat!(
                    "x.yaml:1: `deb.",
                    "debian.org`: name of a package registry: take it from the machine's configuration"
                ),
            ),
            (
                "Cargo.lock",
                "[[package]]\nsource = \"git+https://host/x\"\n",
                "Cargo.lock:2: a dependency from git+https://host/x",
            ),
        ] {
            assert_eq!(findings(path, text), [finding]);
        }
    }

    #[test]
    fn passes_what_only_looks_like_a_breach() {
        for (path, text) in [
            ("crates/api/src/lib.rs", "//! What it is.\n"),
            (
                "a/b.rs",
                "let color = \"#123\"; // color, see kubernetes/kubernetes#12345\n",
            ),
            ("docs/a.md", "# 12\n```\n# 1\n#1\n```\n"),
            (
                "a/b.rs",
                "let folder = \"net/work/folder\"; let todo = 1; // for nowhere else\n",
            ),
            (
                "crates/api/src/a.rs",
                concat!("tokio::time::sl", "eep(pause).await;\n"),
            ),
            (
                "Cargo.lock",
                concat!(
                    "source = \"registry+https://github.com/rust-lang/crates",
                    ".io-index\"\n"
                ),
            ),
        ] {
            let expected: Vec<String> = Vec::new();
            assert_eq!(findings(path, text), expected, "{text}");
        }
    }

    #[test]
    fn lists_files_that_hold_more_than_one_story() {
        let source = |path: &str, lines| Source {
            path: path.to_owned(),
            text: "\n".repeat(lines),
        };
        let sources = [
            source("a.rs", 900),
            source("b.rs", 901),
            source("c.md", 2000),
        ];
        assert_eq!(long_files(&sources), ["b.rs: 901 lines"]);
    }
}
