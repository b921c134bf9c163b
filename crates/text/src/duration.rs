//! Ages and elapsed times, in the short forms that Velero's and Kubernetes' clients print.

use std::time::Duration;

use jiff::Timestamp;

/// `5s`, `3m`, `2h`, `29d`, `1y`: one unit, rounded down.
#[must_use]
pub fn short(seconds: u64) -> String {
    match seconds {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m", s / 60),
        s if s < 86_400 => format!("{}h", s / 3600),
        s if s < 365 * 86_400 => format!("{}d", s / 86_400),
        s => format!("{}y", s / (365 * 86_400)),
    }
}

/// A moment as seen from `now`: `29d` when it is ahead, `3d ago` when it is past, `n/a` without one.
#[must_use]
pub fn from_now(when: Option<Timestamp>, now: Timestamp) -> String {
    let Some(when) = when else {
        return "n/a".to_owned();
    };
    let seconds = when.as_second() - now.as_second();
    if seconds >= 0 {
        short(seconds.unsigned_abs())
    } else {
        format!("{} ago", short(seconds.unsigned_abs()))
    }
}

/// Time that something took: `42 ms`, `3.1 s`, `2 m 5 s`, `1 h 2 m`.
#[must_use]
pub fn elapsed(took: Duration) -> String {
    let millis = took.as_millis();
    let seconds = took.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        s if s < 60 => format!("{s}.{} s", took.subsec_millis() / 100),
        s if s < 3600 => format!("{} m {} s", s / 60, s % 60),
        s => format!("{} h {} m", s / 3600, s / 60 % 60),
    }
}

/// Time that something will take, in whole seconds and at least one: `40 s`, `2 m 5 s`, `1 h 2 m`.
#[must_use]
pub fn about(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        0 => "1 s".to_owned(),
        s if s < 60 => format!("{s} s"),
        s => elapsed(Duration::from_secs(s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_is_told_in_whole_seconds() {
        for (millis, text) in [
            (0, "1 s"),
            (1_200, "2 s"),
            (59_000, "59 s"),
            (59_500, "1 m 0 s"),
            (7_260_000, "2 h 1 m"),
        ] {
            assert_eq!(about(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn moments_are_told_from_now_in_one_unit() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("time");
        for (when, text) in [
            (Some("2026-11-20T12:00:00Z"), "0s"),
            (Some("2026-12-20T11:59:59Z"), "29d"),
            (Some("2026-11-17T11:00:00Z"), "3d ago"),
            (Some("2026-11-20T10:30:00Z"), "1h ago"),
            (Some("2028-11-20T12:00:00Z"), "2y"),
            (None, "n/a"),
        ] {
            let when = when.map(|text| text.parse().expect("time"));
            assert_eq!(from_now(when, now), text);
        }
    }

    #[test]
    fn elapsed_time_keeps_the_two_largest_units() {
        for (millis, text) in [
            (42, "42 ms"),
            (3_140, "3.1 s"),
            (125_000, "2 m 5 s"),
            (3_725_000, "1 h 2 m"),
        ] {
            assert_eq!(elapsed(Duration::from_millis(millis)), text);
        }
    }
}
