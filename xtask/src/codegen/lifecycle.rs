//! Release numbers at which a kind appeared, was replaced and disappeared.
//!
//! The API packages carry them as one small Go function per fact, generated from markers; this
//! reads those functions because they hold the resolved numbers (a marker may be left out and is
//! then computed from the others).

/// A release as (major, minor).
pub(super) type Release = (u32, u32);

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupVersionKind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// What the package says about one kind.
#[derive(Default)]
pub(super) struct Lifecycle {
    pub(super) introduced: Option<Release>,
    pub(super) removed: Option<Release>,
    pub(super) replacement: Option<GroupVersionKind>,
}

/// Reads the facts about `kind` from the text of a package's lifecycle file.
pub(super) fn of(text: &str, kind: &str) -> Lifecycle {
    let body = |fact: &str| {
        let start = text.find(&format!("func (in *{kind}) APILifecycle{fact}()"))?;
        text.get(start..)?.lines().nth(1)
    };
    Lifecycle {
        introduced: body("Introduced").and_then(release),
        removed: body("Removed").and_then(release),
        replacement: body("Replacement").and_then(replacement),
    }
}

fn release(line: &str) -> Option<Release> {
    let (major, minor) = line.trim().strip_prefix("return ")?.split_once(", ")?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn replacement(line: &str) -> Option<GroupVersionKind> {
    let mut quoted = line.split('"').skip(1).step_by(2).map(str::to_owned);
    Some(GroupVersionKind {
        group: quoted.next()?,
        version: quoted.next()?,
        kind: quoted.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_facts_of_one_kind_and_not_of_its_list() {
        let text = "func (in *RackList) APILifecycleRemoved() (major, minor int) {\n\
            \treturn 1, 99\n}\n\
            func (in *Rack) APILifecycleIntroduced() (major, minor int) {\n\treturn 1, 8\n}\n\
            func (in *Rack) APILifecycleReplacement() schema.GroupVersionKind {\n\
            \treturn schema.GroupVersionKind{Group: \"\", Version: \"v1\", Kind: \"Rack\"}\n}\n";
        let found = of(text, "Rack");
        assert_eq!(found.introduced, Some((1, 8)));
        assert_eq!(found.removed, None);
        let expected = GroupVersionKind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Rack".to_owned(),
        };
        assert_eq!(found.replacement, Some(expected));
        assert_eq!(of(text, "RackList").removed, Some((1, 99)));
    }
}
