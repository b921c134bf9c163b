//! Hooks as annotations of a pod spell them.

use std::time::Duration;

use salvor_api::go::GoDuration;
use salvor_api::velero::HookErrorMode;

use super::Pod;

/// A command as an annotation has it: a JSON array, or the program alone.
pub(super) fn command(text: &str) -> Vec<String> {
    let list = text.starts_with('[').then(|| serde_json::from_str(text));
    match list {
        Some(Ok(list)) => list,
        _ => vec![text.to_owned()],
    }
}

/// What a failure means. Anything but the two words means the default, as in Velero.
pub(super) fn on_error(pod: &Pod, prefix: &str) -> HookErrorMode {
    match pod.annotation(&format!("{prefix}/on-error")) {
        Some("Continue") => HookErrorMode::Continue,
        _ => HookErrorMode::Fail,
    }
}

/// The text of an annotation; empty counts as absent.
pub(super) fn text<'a>(pod: &'a Pod, prefix: &str, field: &str) -> Option<&'a str> {
    pod.annotation(&format!("{prefix}/{field}"))
        .filter(|text| !text.is_empty())
}

/// A duration. One that cannot be read is a problem, and the default is taken.
pub(super) fn duration(
    pod: &Pod,
    prefix: &str,
    field: &str,
    problems: &mut Vec<String>,
) -> Option<Duration> {
    let text = text(pod, prefix, field)?;
    match text.parse::<GoDuration>() {
        Ok(duration) => Some(duration.0),
        Err(error) => {
            problems.push(format!(
                "annotation {prefix}/{field}: `{text}` is not a duration ({error}): the default is taken"
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_json_array_or_one_word() {
        for (text, expected) in [
            ("/bin/true", vec!["/bin/true"]),
            ("echo a b", vec!["echo a b"]),
            (
                r#"["/bin/sh","-c","echo \"a b\""]"#,
                vec!["/bin/sh", "-c", "echo \"a b\""],
            ),
            (r#"["not closed"#, vec![r#"["not closed"#]),
            ("[1]", vec!["[1]"]),
        ] {
            assert_eq!(command(text), expected, "{text}");
        }
    }
}
