//! Errors as one line.

/// An error with its causes.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let own = cause.to_string();
        // Some errors show their cause themselves.
        if !text.ends_with(&own) {
            text = format!("{text}: {own}");
        }
        next = cause.source();
    }
    text
}
