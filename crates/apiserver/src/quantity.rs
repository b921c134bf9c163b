//! Resource quantities (`500m`, `1Gi`, `1e3`), far enough to compare them.

use serde_json::Value;

/// A quantity as a number; `None` when it is none.
pub(crate) fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    // `1e3` and `1E3` end in digits; `1E` is exa.
    let number: f64 = digits.parse().ok()?;
    let factor = match &text[digits.len()..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        _ => return None,
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare_across_suffixes() {
        for (text, expected) in [
            ("1Gi", Some(1_073_741_824.0)),
            ("500m", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("2k", Some(2000.0)),
            ("1.5", Some(1.5)),
            ("", None),
            ("Gi", None),
            ("1Zi", None),
        ] {
            assert_eq!(quantity(&text.into()), expected, "{text}");
        }
    }
}
