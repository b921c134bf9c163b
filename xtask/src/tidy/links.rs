//! Links of the documents lead somewhere: relative links and their anchors in Markdown, and every
//! `docs/....md` that code, manifests or prose name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Source};

/// Every link that leads nowhere.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let texts: BTreeMap<&str, &str> = sources
        .iter()
        .map(|source| (source.path.as_str(), source.text.as_str()))
        .collect();
    let mut folders = BTreeSet::new();
    for path in texts.keys() {
        folders.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
    }
    let site = Site { texts, folders };
    sources
        .iter()
        .flat_map(|source| site.check_file(source))
        .collect()
}

struct Site<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    folders: BTreeSet<&'a str>,
}

impl Site<'_> {
    fn check_file(&self, source: &Source) -> Vec<Finding> {
        let Source { path, text } = source;
        let mut findings = Vec::new();
        let mut fenced = false;
        for (number, line) in (1..).zip(text.lines()) {
            let mut reasons = Vec::new();
            if path.ends_with(".md") {
                fenced ^= line.trim_start().starts_with("```");
                if !fenced {
                    let links = links(line);
                    reasons.extend(links.iter().filter_map(|link| self.broken(path, link)));
                }
            }
            let named = [".md", ".rs", ".toml"]
                .iter()
                .any(|end| path.ends_with(end));
            // The tests of these rules name documents that do not exist.
            if named && !path.starts_with("xtask/src/tidy/") {
                let missing = documents(line).filter(|name| !self.texts.contains_key(name));
                reasons.extend(missing.map(|name| format!("`{name}` does not exist")));
            }
            reasons.dedup();
            findings.extend(
                reasons
                    .into_iter()
                    .map(|reason| format!("{path}:{number}: {reason}")),
            );
        }
        findings
    }

    /// Why a link of the file leads nowhere.
    fn broken(&self, from: &str, link: &str) -> Option<String> {
        if link.contains("://") || link.starts_with("mailto:") {
            return None;
        }
        let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
        let Some(path) = resolve(from, target) else {
            return Some(format!("link `{link}` leaves the repository"));
        };
        let Some(text) = self.texts.get(path.as_str()) else {
            let folder = path.is_empty() || self.folders.contains(path.as_str());
            let exists = folder && anchor.is_empty();
            return (!exists).then(|| format!("link `{link}`: there is no `{path}`"));
        };
        if anchor.is_empty() || !path.ends_with(".md") || anchors(text).contains(anchor) {
            return None;
        }
        Some(format!("link `{link}`: `{path}` has no such heading"))
    }
}

/// The path in the repository that a link target means; `None` when it is absolute or climbs out.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(from.to_owned());
    }
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Targets of `[text](target)`, `[text](target "title")` and `[label]: target` outside inline code.
fn links(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut links = Vec::new();
    let mut rest = line.as_str();
    while let Some((_, after)) = rest.split_once("](") {
        let Some((target, next)) = after.split_once(')') else {
            break;
        };
        links.extend(target.split_whitespace().next().map(str::to_owned));
        rest = next;
    }
    if let Some((_, target)) = line
        .strip_prefix('[')
        .and_then(|label| label.split_once("]: "))
    {
        links.extend(target.split_whitespace().next().map(str::to_owned));
    }
    links
}

fn without_code(line: &str) -> String {
    // Parts at odd positions stand between backticks.
    let parts = line.split('`').enumerate();
    parts
        .filter(|(position, _)| position % 2 == 0)
        .map(|(_, part)| part)
        .collect()
}

/// Names of the form `docs/...md` that a line holds as words of their own.
fn documents(line: &str) -> impl Iterator<Item = &str> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    line.split(move |c| !part_of_name(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.starts_with("docs/") && word.ends_with(".md"))
}

/// The anchors of a Markdown text, as common renderers derive them from headings: lower case,
/// punctuation dropped, blanks to dashes, repeated ones numbered.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut unique = slug.clone();
        let mut repeated = 0;
        while !anchors.insert(unique.clone()) {
            repeated += 1;
            unique = format!("{slug}-{repeated}");
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: (*path).into(),
            text: (*text).into(),
        };
        check(&files.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn follows_files_folders_and_headings() {
        let guide = "# Start here, now!\n## Again\n## Again\n# 복구 계획\n\
                     [up](../README.md) [self](#again-1) [folder](formats) [code](../src/a.rs#L3)\n\
                     [한글](#복구-계획) ![picture](a.png \"title\") [web](https://x.test/#y)\n\
                     `[not](a-link)`\n```\n[nor](this)\n```\n[label]: formats/tar.md\n";
        let files = [
            ("README.md", "[guide](docs/guide.md#start-here-now)\n"),
            ("docs/guide.md", guide),
            ("docs/formats/tar.md", ""),
            ("docs/a.png", ""),
            ("src/a.rs", "//! See docs/formats/tar.md.\n"),
        ];
        assert_eq!(findings(&files), Vec::<String>::new());
    }

    #[test]
    fn names_every_link_that_leads_nowhere() {
        for (path, text, finding) in [
            (
                "README.md",
                "[a](b.md)\n",
                "README.md:1: link `b.md`: there is no `b.md`",
            ),
            (
                "README.md",
                "\n[a](#none)\n",
                "README.md:2: link `#none`: `README.md` has no such heading",
            ),
            (
                "docs/x.md",
                "[a](../../y.md)\n",
                "docs/x.md:1: link `../../y.md` leaves the repository",
            ),
            (
                "x.md",
                "[a](/etc/passwd)\n",
                "x.md:1: link `/etc/passwd` leaves the repository",
            ),
            (
                "a.rs",
                "// (docs/gone.md)\n",
                "a.rs:1: `docs/gone.md` does not exist",
            ),
        ] {
            assert_eq!(findings(&[(path, text)]), [finding]);
        }
    }
}
