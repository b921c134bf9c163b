//! The bundle of `salvor debug`: what a report of a problem needs, without secrets.
//!
//! Every file is made by [`Bundle::text`] or [`Bundle::value`], which take secrets out; there is no other way in.
//! [`write`] gives the bundle its name when it is whole.

mod redact;
mod tar;
mod write;

use serde_json::Value;

pub(crate) use self::redact::{Redactor, is_secret_name};
pub(crate) use self::write::write;

/// No single file is longer; of a log the end is kept.
const LONGEST: usize = 4 << 20;
/// Everything together is not larger: a report travels by mail.
const LARGEST: usize = 48 << 20;

/// Files that are collected.
#[derive(Debug)]
pub(crate) struct Bundle {
    redactor: Redactor,
    files: Vec<(String, Vec<u8>)>,
    size: usize,
    /// What could not be had, and why.
    missing: Vec<String>,
}

impl Bundle {
    /// An empty one.
    pub(crate) fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            files: Vec::new(),
            size: 0,
            missing: Vec::new(),
        }
    }

    /// Adds a text; of one that is too long, its end.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        let mut start = text.len().saturating_sub(LONGEST);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        // Not the middle of a line: half a secret looks like none.
        if start > 0 {
            start = text[start..]
                .find('\n')
                .map_or(text.len(), |at| start + at + 1);
        }
        let text = self.redactor.text(&text[start..]);
        self.add(name, text.into_bytes());
    }

    /// Adds a value as JSON.
    pub(crate) fn value(&mut self, name: &str, mut value: Value) {
        self.redactor.value(&mut value);
        let text = serde_json::to_vec_pretty(&value).unwrap_or_default();
        if text.len() > LONGEST {
            let reason = format!("it is larger than {} MiB", LONGEST >> 20);
            return self.missing(name, &reason);
        }
        self.add(name, text);
    }

    /// Notes that something could not be had.
    pub(crate) fn missing(&mut self, name: &str, reason: &str) {
        let reason = self.redactor.text(reason);
        self.missing.push(format!("{name}: {reason}"));
    }

    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        if self.size + bytes.len() > LARGEST {
            return self.missing(name, "the bundle is full");
        }
        self.size += bytes.len();
        self.files.push((name.to_owned(), bytes));
    }

    /// Names of the files, and what is missing.
    pub(crate) fn contents(&self) -> (Vec<&str>, &[String]) {
        let names = self.files.iter().map(|(name, _)| name.as_str());
        (names.collect(), &self.missing)
    }

    /// The bundle as a tar, with what is missing as a file of its own. `seconds` since 1970 dates its files.
    fn tar(&self, seconds: u64) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.size + self.files.len() * 1024);
        for (name, bytes) in &self.files {
            tar::entry(&mut all, name, bytes, seconds);
        }
        let mut missing = self.missing.join("\n");
        missing.push('\n');
        tar::entry(&mut all, "missing.txt", missing.as_bytes(), seconds);
        tar::end(&mut all);
        all
    }
}
