//! Names that users give, checked before they become object keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} name `{name}` is not valid: {reason}")]
pub struct NameError {
    /// What kind of name, for example `backup`.
    pub what: &'static str,
    /// The name as given, cut to 80 characters.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks that `name` is a DNS-1123 subdomain, which Kubernetes demands of most object names.
///
/// # Errors
/// [`NameError`] with the first rule that is broken.
pub fn check_dns_subdomain(what: &'static str, name: &str) -> Result<(), NameError> {
    let refuse = |reason| {
        Err(NameError {
            what,
            name: name.chars().take(80).collect(),
            reason,
        })
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > 253 {
        return refuse("it is longer than 253 characters");
    }
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    if !name.bytes().all(ok) {
        return refuse("use lower-case letters, digits, `-` and `.` only");
    }
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    for label in name.split('.') {
        let bytes = label.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(first), Some(last)) if edge(*first) && edge(*last) => {}
            _ => return refuse("each part must start and end with a letter or digit"),
        }
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// The name is not a DNS-1123 subdomain.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check_dns_subdomain($what, &name)?;
                Ok(Self(name))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name_type!(
    /// Name of a backup: the folder `backups/<name>/` of a location.
    BackupName,
    "backup"
);
name_type!(
    /// Name of a restore: the folder `restores/<name>/` of a location.
    RestoreName,
    "restore"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_kubernetes_accepts_and_nothing_that_escapes_a_folder() {
        for good in ["a", "nightly-3", "0.b.c-1", &"x".repeat(253)] {
            assert!(BackupName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "A",
            "a_b",
            "-a",
            "a-",
            "a..b",
            "ä",
            &"x".repeat(254),
        ] {
            assert!(BackupName::new(bad).is_err(), "{bad}");
        }
    }
}
