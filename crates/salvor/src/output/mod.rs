//! Everything that leaves the program: results to standard output, remarks and progress to standard error.

pub(crate) mod backup_table;
pub(crate) mod describe_backup;
pub(crate) mod describe_filling;
pub(crate) mod describe_restore;
mod describe_volumes;
pub(crate) mod estimate;
pub(crate) mod location_table;
pub(crate) mod progress;
pub(crate) mod restore_table;
pub(crate) mod structured;

use std::io::{self, IsTerminal as _, Write as _};

use salvor_text::Messages;
use salvor_text::width::{harmless, printable};
use serde::Serialize;
use serde_json::Value;

use crate::args::Format;
use crate::exit::{Exit, Failure};

/// Writes results and remarks.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    messages: Messages,
    /// Results are coloured.
    pub(crate) color: bool,
    color_remarks: bool,
}

impl Printer {
    /// A printer; colours only on a terminal and only when not refused.
    pub(crate) fn new(messages: Messages, refuse_color: bool) -> Self {
        Self {
            messages,
            color: !refuse_color && io::stdout().is_terminal(),
            color_remarks: !refuse_color && io::stderr().is_terminal(),
        }
    }

    /// Writes a result for people or machines; control sequences in it are made harmless.
    ///
    /// # Errors
    /// Standard output cannot be written. A reader that went away ends the program quietly.
    pub(crate) fn result(&self, text: &str) -> Result<(), Failure> {
        self.bytes(harmless(text).as_bytes())
    }

    /// Writes bytes of a result as they are: logs, archives, scripts.
    ///
    /// # Errors
    /// As [`Printer::result`].
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // `salvor ... | head` is no failure: the reader has what it wants.
                std::process::exit(0)
            }
            Err(error) => Err(Failure::caused(
                Exit::Internal,
                "write to standard output",
                error,
            )),
        }
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// As [`Printer::result`].
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.result(&structured::json(value)?)
    }

    /// Writes a value as YAML.
    ///
    /// # Errors
    /// As [`Printer::result`].
    pub(crate) fn yaml(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.result(&structured::yaml(value)?)
    }

    /// A line to standard error.
    pub(crate) fn remark(&self, text: &str) {
        // Nobody is there to be told that remarks cannot be written.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A question to standard error, without a line end.
    pub(crate) fn ask(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = write!(err, "{text}");
        let _ = err.flush();
    }

    /// A remark with its label.
    pub(crate) fn note(&self, text: &str) {
        self.labelled(&self.messages.note(), "36", text);
    }

    /// A warning.
    pub(crate) fn warning(&self, text: &str) {
        self.labelled(&self.messages.warning(), "33", text);
    }

    /// Something that is wrong with what was looked at.
    pub(crate) fn error(&self, text: &str) {
        self.labelled(&self.messages.error(), "31", text);
    }

    /// A failure with its chain and what to do next.
    pub(crate) fn failure(&self, failure: &Failure) {
        let label = match failure.code() {
            Some(code) => format!("{}[{code}]", self.messages.error()),
            None => self.messages.error(),
        };
        self.labelled(&label, "31", &failure.chain());
        if let Some(hint) = &failure.hint {
            let hint = self.messages.advice(hint);
            self.labelled(&self.messages.hint(), "36", &hint);
        }
    }

    fn labelled(&self, label: &str, color: &str, text: &str) {
        let text: Vec<String> = text.split('\n').map(printable).collect();
        let text = text.join("\n");
        if self.color_remarks {
            self.remark(&format!("\u{1b}[{color}m{label}\u{1b}[0m: {text}"));
        } else {
            self.remark(&format!("{label}: {text}"));
        }
    }
}

impl Printer {
    /// Writes one of several descriptions: as a value, as a name, or as text with two empty lines between
    /// them, as Velero's client has it.
    ///
    /// # Errors
    /// As [`Printer::result`].
    pub(crate) fn described(
        &self,
        format: Format,
        at: usize,
        name: &str,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match format {
            Format::Json => self.json(&value()),
            Format::Yaml => self.yaml(&value()),
            Format::Name => self.result(&format!("{name}\n")),
            Format::Table | Format::Wide => {
                let separator = if at > 0 { "\n\n" } else { "" };
                self.result(&format!("{separator}{}", text()))
            }
        }
    }
}

/// A phase in the colour that Velero gives it.
pub(crate) fn phase(text: &str, color: bool) -> String {
    let code = match text {
        "Completed" | "Available" => "32",
        "Failed" | "FailedValidation" | "PartiallyFailed" | "Unavailable" => "31",
        _ => return text.to_owned(),
    };
    if color {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// `a, b`, or what stands for an empty list.
pub(crate) fn list_or(list: &[String], empty: &str) -> String {
    if list.is_empty() {
        empty.to_owned()
    } else {
        list.join(", ")
    }
}

/// `auto`, or the word for the choice.
pub(crate) fn choice(value: Option<bool>, no: &str, yes: &str) -> String {
    match value {
        None => "auto".to_owned(),
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
    }
}
