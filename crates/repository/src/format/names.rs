//! File names inside JSON, as Go's `strconv.Quote` writes and `Unquote` reads them.
//!
//! A name is any bytes but `/` and NUL; JSON has only Unicode. So a name is first written as the inside of a
//! Go string literal, where bytes that are no UTF-8 are `\xNN`, and that text is what JSON holds.

/// The quoted form of a name.
#[must_use]
pub fn quote(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0b' => out.push_str("\\v"),
                c if (c as u32) < 0x20 || c == '\x7f' => {
                    out.push_str(&format!("\\x{:02x}", c as u32));
                }
                c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// The name of a quoted form; `None` when it is none.
#[must_use]
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let (byte, after) = rest[at..].split_at(1);
        if byte != "\\" {
            return None;
        }
        rest = escape(after, &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

/// Reads what follows a backslash; returns what follows that.
fn escape<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let kind = *text.as_bytes().first()?;
    let digits = |from: usize, count: usize, radix: u32| {
        let digits = text.get(from..from + count)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then_some(())?;
        u32::from_str_radix(digits, radix).ok()
    };
    let (plain, used) = match kind {
        b'a' => (0x07, 1),
        b'b' => (0x08, 1),
        b'f' => (0x0c, 1),
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        b'v' => (0x0b, 1),
        b'\\' => (b'\\', 1),
        b'"' => (b'"', 1),
        b'x' => (u8::try_from(digits(1, 2, 16)?).ok()?, 3),
        b'0'..=b'7' => (u8::try_from(digits(0, 3, 8)?).ok()?, 3),
        b'u' | b'U' => {
            let count = if kind == b'u' { 4 } else { 8 };
            let c = char::from_u32(digits(1, count, 16)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return text.get(1 + count..);
        }
        _ => return None,
    };
    out.push(plain);
    text.get(used..)
}

/// Whether a node may have this name: one component of a path, no more.
#[must_use]
pub fn is_component(name: &[u8]) -> bool {
    !name.is_empty()
        && name != b"."
        && name != b".."
        && name.len() <= 4096
        && !name.iter().any(|b| matches!(b, b'/' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_literals_are_read() {
        for (text, name) in [
            ("plain", b"plain".as_slice()),
            (r"a\nb", b"a\nb"),
            (r"\xff\x00", b"\xff\x00"),
            (r"\377", b"\xff"),
            (r"caf\u00e9 \U0001F600", "café 😀".as_bytes()),
            (r#"\\ \" \a\b\f\r\t\v"#, b"\\ \" \x07\x08\x0c\r\t\x0b"),
        ] {
            assert_eq!(unquote(text).as_deref(), Some(name), "{text}");
        }
        for bad in [
            "\\",
            "\\q",
            "\\x",
            "\\xg0",
            "\\u12",
            "\\ud800",
            "\\U00110000",
            "\"",
            "a\nb",
            "\\400",
            "\\x+1",
            "\\xé",
        ] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_single_components_are_names() {
        for bad in [b"".as_slice(), b".", b"..", b"a/b", b"/", b"a\0"] {
            assert!(!is_component(bad));
        }
        for good in [b"a".as_slice(), b"...", b"\xff", b" "] {
            assert!(is_component(good));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unquote(&quote(&name)), Some(name));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = unquote(&text);
        }
    }
}
