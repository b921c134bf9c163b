//! Skips that are heard.
//!
//! The test runner swallows what a passing test prints, so a skip goes to the process's standard error
//! directly. With `SALVOR_REQUIRE=1` a skip is a failure.

use std::io::Write as _;
use std::path::PathBuf;

/// Says aloud that a test did not run.
///
/// # Panics
/// With `SALVOR_REQUIRE` set: then everything must be there.
pub fn skipped(reason: &str) {
    assert!(
        std::env::var_os("SALVOR_REQUIRE").is_none_or(|value| value.is_empty() || value == "0"),
        "required, but {reason}"
    );
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// The value of an environment variable that a test needs; `None`, said aloud, when it is not set.
#[must_use]
pub fn required_var(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Some(value),
        _ => {
            skipped(&format!("{name} is not set"));
            None
        }
    }
}

/// The file that an environment variable names; `None`, said aloud, when there is none.
#[must_use]
pub fn required_path(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(required_var(name)?);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!(
        "{name} names {}, which does not exist",
        path.display()
    ));
    None
}

/// The folder of the package whose tests run.
///
/// Asked for at run time: a target folder may be shared by working trees at several paths, and what was compiled
/// into a test in one of them is not there in another.
///
/// # Panics
/// Cargo does not run the tests.
#[must_use]
pub fn package_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .expect("cargo runs the tests and says where their package is")
}
