//! What the codes mean that this program and its alerts show, without a network.

mod catalogue;
mod code;

pub(crate) use self::catalogue::{ENTRIES, Entry};
pub(crate) use self::code::code_of;

/// What a code belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A failed command: `error[CODE]`.
    Error,
    /// The exit status of a command.
    Exit,
    /// An alert rule.
    Alert,
}

impl Kind {
    /// As it is listed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Exit => "exit",
            Self::Alert => "alert",
        }
    }
}

/// The entry of a code. Letters may be written either way, an exit status also as its number.
pub(crate) fn find(code: &str) -> Option<&'static Entry> {
    let exit = format!("exit-{code}");
    ENTRIES
        .iter()
        .find(|entry| entry.code.eq_ignore_ascii_case(code) || entry.code == exit)
}

/// Codes that hold a text, or are held by it.
pub(crate) fn like(text: &str) -> Vec<&'static str> {
    let text = text.to_ascii_lowercase();
    let codes = ENTRIES.iter().map(|entry| entry.code);
    let near = |code: &&str| {
        let code = code.to_ascii_lowercase();
        code.contains(&text) || text.contains(&code)
    };
    codes.filter(near).take(5).collect()
}
