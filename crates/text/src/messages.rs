//! The catalogue: everything that is said to people in either language.
//!
//! One method per message. Values come in as they are shown (names, counts, sizes); Korean particles are
//! chosen here. Fixed layouts that other tools read (Velero's tables and describe output), logs and
//! machine output are not messages and stay English.

pub use self::server::Installed;

use std::fmt::Arguments;

use crate::language::Language;

mod advice;
mod archive;
mod backup;
mod claims;
mod copy;
mod debug;
mod demo;
mod estimate;
mod etcd;
mod general;
mod hold;
mod location;
mod repository;
mod restore;
mod runs;
mod served;
mod server;
mod trust;
mod volume_restore;

pub use served::ObjectDone;

/// Says things in one language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    language: Language,
}

impl Messages {
    /// The catalogue in a language.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self { language }
    }

    /// The language spoken.
    #[must_use]
    pub fn language(self) -> Language {
        self.language
    }

    /// Both languages side by side; one is chosen.
    fn say(self, english: Arguments<'_>, korean: Arguments<'_>) -> String {
        match self.language {
            Language::English => english.to_string(),
            Language::Korean => korean.to_string(),
        }
    }
}

/// `1 object`, `2 objects`.
fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 {
        format!("{n} {one}")
    } else {
        format!("{n} {many}")
    }
}
