//! Paths and queries of requests, with every part escaped.

use std::fmt::Write as _;

/// One path segment. API servers refuse names with `/` or `%`, and so do we, before anything is sent.
pub(crate) fn segment(what: &str, text: &str) -> Result<String, String> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '%']) {
        let shown: String = text.chars().take(80).collect();
        return Err(format!("`{shown}` is not a valid {what}"));
    }
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a String takes any text");
        }
    }
    Ok(escaped)
}

/// A path with a query made of the pairs that have a value.
pub(crate) fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let mut any = false;
    for (key, value) in pairs {
        if let Some(value) = value {
            query.append_pair(key, value);
            any = true;
        }
    }
    if any {
        format!("{path}?{}", query.finish())
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_escape_selectors_and_tokens() {
        assert_eq!(
            with_query(
                "/api/v1/pods",
                &[
                    ("labelSelector", Some("app in (a,b),!c".into())),
                    ("limit", None),
                    ("continue", Some("a+b/c=".into())),
                ]
            ),
            "/api/v1/pods?labelSelector=app+in+%28a%2Cb%29%2C%21c&continue=a%2Bb%2Fc%3D"
        );
        assert_eq!(with_query("/x", &[("a", None)]), "/x");
    }
}
