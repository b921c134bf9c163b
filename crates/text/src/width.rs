//! Display width in terminal cells: Hangul is two, combining marks and colour codes are none.

use unicode_width::UnicodeWidthChar;

/// Cells that a string takes on a terminal. ANSI colour sequences (`ESC [ ... m`) take none.
#[must_use]
pub fn width(text: &str) -> usize {
    let mut cells = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            for escaped in chars.by_ref() {
                if escaped.is_ascii_alphabetic() {
                    break;
                }
            }
            continue;
        }
        cells += c.width().unwrap_or(0);
    }
    cells
}

/// Text with every control character replaced by its escape, for names and messages of unknown origin:
/// a name in a hostile archive must not move the cursor or recolour the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> = if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            };
            escaped
        })
        .collect()
}

/// Text for a terminal: line ends, tabs and colours stay, every other control sequence becomes its
/// escape, so that text from an archive or a server cannot move the cursor or rename the window.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        match (c, color_sequence(tail)) {
            ('\u{1b}', Some(length)) => {
                out.push(c);
                out.push_str(&tail[..length]);
                rest = &tail[length..];
                continue;
            }
            ('\n' | '\t', _) => out.push(c),
            (c, _) if c.is_control() => out.extend(c.escape_default()),
            (c, _) => out.push(c),
        }
        rest = tail;
    }
    out
}

/// Length of `[31m`, `[1;32m` and the like at the start of a text.
fn color_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix('[')?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    (body[end..].starts_with('m')).then_some(end + 2)
}

/// At most `cells` wide, cut with `…` when longer.
#[must_use]
pub fn truncate(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        let next = c.width().unwrap_or(0);
        if used + next + 1 > cells {
            break;
        }
        used += next;
        out.push(c);
    }
    if cells > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangul_counts_twice_and_colours_not_at_all() {
        for (text, cells) in [
            ("abc", 3),
            ("백업", 4),
            ("\u{1b}[31mFailed\u{1b}[0m", 6),
            ("e\u{301}", 1),
            ("", 0),
            ("\u{1b}[", 0),
        ] {
            assert_eq!(width(text), cells, "{text:?}");
        }
    }

    #[test]
    fn text_is_cut_at_whole_characters_and_made_harmless() {
        assert_eq!(truncate("백업하기", 5), "백업…");
        assert_eq!(truncate("백업", 4), "백업");
        assert_eq!(truncate("abc", 0), "");
        assert_eq!(
            harmless("\u{1b}[31mred\u{1b}[0m\t\u{1b}[2J\u{1b}]0;title\u{7}\n"),
            "\u{1b}[31mred\u{1b}[0m\t\\u{1b}[2J\\u{1b}]0;title\\u{7}\n"
        );
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
