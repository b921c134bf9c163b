//! Kubernetes quantities (`500m`, `1Gi`, `2e3`), as numbers to compare.

const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// The value of a quantity in its base unit; `None` when the text is none.
#[must_use]
pub fn parse_quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, scale) = SUFFIXES
        .iter()
        .find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)))
        .unwrap_or((text, 1.0));
    let starts_well = number
        .bytes()
        .next()
        .is_some_and(|c| c.is_ascii_digit() || b"+-.".contains(&c));
    let value: f64 = number.parse().ok().filter(|_| starts_well)?;
    value.is_finite().then_some(value * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_decimal_and_binary_suffixes() {
        for (text, value) in [
            ("5", Some(5.0)),
            ("500m", Some(0.5)),
            ("1Gi", Some(1_073_741_824.0)),
            ("2e3", Some(2000.0)),
            ("1.5k", Some(1500.0)),
            ("3E", Some(3e18)),
            ("", None),
            ("Gi", None),
            ("inf", None),
            ("NaN", None),
            ("ten", None),
        ] {
            assert_eq!(parse_quantity(text), value, "{text}");
        }
    }
}
