//! Kubernetes quantities (`500m`, `1Gi`, `2e3`), exact, to be compared.

use std::str::FromStr;

/// A quantity that is not negative, in billionths of its unit, which is as fine as Kubernetes is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u128);

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whole units, cut off below: bytes of a capacity.
    #[must_use]
    pub fn whole(self) -> u128 {
        self.0 / NANO
    }
}

const NANO: u128 = 1_000_000_000;

/// Suffixes with what one of them is, in billionths. `E` is tried last: it may also begin an exponent.
const SUFFIXES: [(&str, u128); 15] = [
    ("Ki", NANO << 10),
    ("Mi", NANO << 20),
    ("Gi", NANO << 30),
    ("Ti", NANO << 40),
    ("Pi", NANO << 50),
    ("Ei", NANO << 60),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", NANO * 1_000),
    ("M", NANO * 1_000_000),
    ("G", NANO * NANO),
    ("T", NANO * NANO * 1_000),
    ("P", NANO * NANO * 1_000_000),
    ("E", NANO * NANO * NANO),
];

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no quantity such as 10Gi, 500M or 1.5Ti");
        let suffix = SUFFIXES
            .into_iter()
            .find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, scale)));
        let (number, mut scale) = suffix.unwrap_or((text, NANO));
        let (mantissa, exponent) = match number.split_once(['e', 'E']) {
            Some((mantissa, exponent)) if suffix.is_none() => {
                (mantissa, exponent.parse::<i32>().map_err(|_| bad())?)
            }
            Some(_) => return Err(bad()),
            None => (number, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{}{part}", whole.strip_prefix('+').unwrap_or(whole));
        if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) || digits.len() > 30 {
            return Err(bad());
        }
        let mut value: u128 = digits.parse().map_err(|_| bad())?;
        let shift = exponent.checked_sub(part.len() as i32).ok_or_else(bad)?;
        let power = |by: u32| 10u128.checked_pow(by).ok_or_else(bad);
        if shift >= 0 {
            scale = scale
                .checked_mul(power(shift.unsigned_abs())?)
                .ok_or_else(bad)?;
            value = value.checked_mul(scale).ok_or_else(bad)?;
        } else {
            // Rounded up, as Kubernetes does below a billionth.
            let product = value.checked_mul(scale).ok_or_else(bad)?;
            value = product.div_ceil(power(shift.unsigned_abs())?);
        }
        Ok(Self(value))
    }
}

/// About what a quantity is worth in whole units, to add up and compare: signs and halves are fine; `None` when the text
/// is none.
#[must_use]
pub fn approximate(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, scale) = SUFFIXES
        .iter()
        .find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)))
        .unwrap_or((text, NANO));
    // Rust also reads `inf` and `NaN`.
    let starts_well = number
        .bytes()
        .next()
        .is_some_and(|c| c.is_ascii_digit() || b"+-.".contains(&c));
    let value: f64 = number.parse().ok().filter(|_| starts_well)?;
    // Whole numbers first: a quotient of two large floats is off by a little.
    let worth = if scale >= NANO {
        value * (scale / NANO) as f64
    } else {
        value / (NANO / scale) as f64
    };
    value.is_finite().then_some(worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_quantity_is_about_worth_has_signs_and_halves() {
        for (text, value) in [
            ("5", Some(5.0)),
            ("-5", Some(-5.0)),
            ("500m", Some(0.5)),
            ("1Gi", Some(1_073_741_824.0)),
            ("2e3", Some(2000.0)),
            (" 1.5k ", Some(1500.0)),
            ("3E", Some(3e18)),
            ("", None),
            ("Gi", None),
            ("1Zi", None),
            ("inf", None),
            ("NaN", None),
            ("ten", None),
        ] {
            assert_eq!(approximate(text), value, "{text}");
        }
    }

    #[test]
    fn quantities_compare_by_what_they_are_worth() {
        let value = |text: &str| text.parse::<Quantity>().expect(text);
        for (small, large) in [
            ("999M", "1G"),
            ("1G", "1Gi"),
            ("1023Mi", "1Gi"),
            ("0.1n", "2n"),
            ("1E", "1Ei"),
            ("9e3", "1e4"),
        ] {
            assert!(value(small) < value(large), "{small} {large}");
        }
        for (a, b) in [
            ("1Gi", "1024Mi"),
            ("1.5Ti", "1536Gi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("500m", ".5"),
            ("+5", "5."),
            ("0", "0Gi"),
        ] {
            assert_eq!(value(a), value(b), "{a} {b}");
        }
        assert_eq!(value("1.5Ki").whole(), 1536);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "Gi", "ten", "-1Gi", "1 Gi", "1GiB", "1.2.3", "inf", "1e", "1e3Gi", "1e99", "0x10",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }
}
