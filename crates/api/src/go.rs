//! Go's text forms of times and durations, byte for byte.
//!
//! Velero's kinds carry `metav1.Time` (RFC 3339, whole seconds, UTC) and `metav1.Duration`
//! (`720h0m0s`). Both are read leniently and written exactly as Go writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment as `metav1.Time` writes it: RFC 3339, UTC, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Timestamp);

impl Time {
    /// The moment, cut to whole seconds (Go's `metav1.Time` loses the fraction as well).
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self(Timestamp::from_second(at.as_second()).unwrap_or(at))
    }

    /// The moment as a timestamp.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        self.0
    }

    /// This moment plus a duration; saturates at the end of representable time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::new(self.0.checked_add(duration).unwrap_or(Timestamp::MAX))
    }

    /// Seconds from `earlier` to this moment; negative when `earlier` is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Time) -> i64 {
        self.0.as_second() - earlier.0.as_second()
    }

    /// `YYYYMMDDhhmmss`, the suffix that Velero's client gives generated names.
    #[must_use]
    pub fn compact(self) -> String {
        self.0.strftime("%Y%m%d%H%M%S").to_string()
    }

    /// `2026-11-20 02:00:00 +0000 UTC`, the form that Velero's describe and get print.
    #[must_use]
    pub fn go_display(self) -> String {
        self.0.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Timestamp>()
            .map(Self::new)
            .map_err(|_| format!("`{text}` is not an RFC 3339 time such as 2026-11-20T02:00:00Z"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A duration as Go's `time.Duration` prints and parses it. Never negative here: no field that
/// Salvor reads has a meaning for a negative one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// A duration of whole hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(Duration::from_secs(hours * 3600))
    }

    /// A duration of whole minutes.
    #[must_use]
    pub const fn from_minutes(minutes: u64) -> Self {
        Self(Duration::from_secs(minutes * 60))
    }

    /// True for `0s`, which Velero's fields read as "the server's default".
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_secs();
        let nanos = self.0.subsec_nanos();
        if total == 0 && nanos > 0 {
            return match nanos {
                n if n < 1_000 => write!(f, "{n}ns"),
                n if n < 1_000_000 => write!(f, "{}µs", fraction(u64::from(n), 3)),
                n => write!(f, "{}ms", fraction(u64::from(n), 6)),
            };
        }
        let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if nanos == 0 {
            write!(f, "{seconds}s")
        } else {
            write!(
                f,
                "{}s",
                fraction(seconds * 1_000_000_000 + u64::from(nanos), 9)
            )
        }
    }
}

/// A duration that may be negative, for the few fields where that says "as the server is set".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedGoDuration {
    negative: bool,
    magnitude: GoDuration,
}

impl SignedGoDuration {
    /// The duration when it is not negative.
    #[must_use]
    pub fn non_negative(self) -> Option<GoDuration> {
        (!self.negative).then_some(self.magnitude)
    }
}

impl From<GoDuration> for SignedGoDuration {
    fn from(magnitude: GoDuration) -> Self {
        Self {
            negative: false,
            magnitude,
        }
    }
}

impl fmt::Display for SignedGoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        write!(f, "{}", self.magnitude)
    }
}

impl FromStr for SignedGoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix('-').filter(|rest| !rest.starts_with('+'));
        let magnitude: GoDuration = rest.unwrap_or(text).parse()?;
        Ok(Self {
            negative: rest.is_some() && !magnitude.is_zero(),
            magnitude,
        })
    }
}

impl Serialize for SignedGoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SignedGoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// `value / 10^digits` without trailing zeros.
fn fraction(value: u64, digits: u32) -> String {
    let unit = 10u64.pow(digits);
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let rest = format!("{rest:0width$}", width = digits as usize);
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

impl FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("`{text}` is not a duration such as 30m, 720h or 1h30m0s");
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest.is_empty() {
            return Err(bad());
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let unit_len = tail
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_len);
            let scale: u128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return Err(bad()),
            };
            let (whole, part) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() && part.is_empty() || part.contains('.') || part.len() > 18 {
                return Err(bad());
            }
            let whole: u128 = if whole.is_empty() {
                0
            } else {
                whole.parse().map_err(|_| bad())?
            };
            nanos = whole
                .checked_mul(scale)
                .and_then(|n| nanos.checked_add(n))
                .ok_or_else(bad)?;
            if !part.is_empty() {
                let digits: u128 = part.parse().map_err(|_| bad())?;
                nanos += digits * scale / 10u128.pow(part.len() as u32);
            }
            rest = tail;
        }
        // Go's durations are signed 64-bit nanoseconds: about 292 years.
        let nanos = u64::try_from(nanos)
            .ok()
            .filter(|n| i64::try_from(*n).is_ok())
            .ok_or_else(bad)?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (input, output) in [
            ("720h", "720h0m0s"),
            ("1h30m", "1h30m0s"),
            ("90s", "1m30s"),
            ("0", "0s"),
            ("1.5s", "1.5s"),
            ("250ms", "250ms"),
            ("1us", "1µs"),
            ("2h0m5.25s", "2h0m5.25s"),
            (".5h", "30m0s"),
        ] {
            let parsed: GoDuration = input.parse().expect(input);
            assert_eq!(parsed.to_string(), output, "{input}");
            assert_eq!(
                parsed.to_string().parse::<GoDuration>(),
                Ok(parsed),
                "{input}"
            );
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for input in [
            "",
            "720",
            "h",
            "1d",
            "-1h",
            "1h 2m",
            ".",
            ".s",
            "999999999999h",
            "1..5s",
        ] {
            assert!(input.parse::<GoDuration>().is_err(), "{input}");
        }
    }

    #[test]
    fn negative_durations_keep_their_sign() {
        for (input, output) in [("-1m", "-1m0s"), ("1m", "1m0s"), ("-0s", "0s")] {
            let parsed: SignedGoDuration = input.parse().expect(input);
            assert_eq!(parsed.to_string(), output, "{input}");
            assert_eq!(parsed.non_negative().is_none(), output.starts_with('-'));
        }
        assert!("--1m".parse::<SignedGoDuration>().is_err());
        assert!("-+1m".parse::<SignedGoDuration>().is_err());
    }

    #[test]
    fn times_lose_their_fraction_and_zone() {
        let time: Time = "2026-11-20T11:00:00.75+09:00".parse().expect("valid time");
        assert_eq!(time.to_string(), "2026-11-20T02:00:00Z");
        assert_eq!(time.compact(), "20261120020000");
        assert_eq!(time.go_display(), "2026-11-20 02:00:00 +0000 UTC");
        assert_eq!(
            time.plus(GoDuration::from_hours(24).0).to_string(),
            "2026-11-21T02:00:00Z"
        );
    }
}
