//! How long a transfer will take, in words.

use salvor_api::velero::BackupSpec;
use salvor_location::estimate::{Measured, PastBackup};
use salvor_text::duration::about;
use salvor_text::{ByteCount, Messages};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Objects,
}

impl Unit {
    fn amount(self, amount: u64, messages: Messages) -> String {
        match self {
            Self::Bytes => ByteCount(amount).to_string(),
            Self::Objects => messages.objects(amount),
        }
    }

    fn rate(self, per_second: f64, messages: Messages) -> String {
        match self {
            Self::Bytes => format!("{}/s", ByteCount(per_second as u64)),
            // A tenth of an object tells a slow restore from one that stands still.
            Self::Objects if per_second < 10.0 => format!("{per_second:.1}/s"),
            Self::Objects => format!("{}/s", messages.objects(per_second as u64)),
        }
    }
}

/// One sentence: how long `amount` takes, at what earlier runs got through and at no more than `limit` per second.
pub(crate) fn sentence(
    amount: Option<u64>,
    measured: &Measured,
    limit: Option<u64>,
    unit: Unit,
    messages: Messages,
) -> String {
    let measured_rate = measured.per_second();
    let slowed = limit.filter(|limit| measured_rate.is_none_or(|rate| rate > *limit as f64));
    let time = amount.and_then(|amount| Some((amount, measured.time_for(amount, limit)?)));
    match (time, measured_rate, slowed) {
        (Some((amount, time)), _, Some(limit)) => messages.estimated_by_limit(
            &about(time),
            &unit.amount(amount, messages),
            &unit.rate(limit as f64, messages),
        ),
        (Some((amount, time)), Some(rate), None) => messages.estimated(
            &about(time),
            &unit.amount(amount, messages),
            &unit.rate(rate, messages),
            measured.runs,
        ),
        (None, Some(rate), _) => {
            messages.estimate_without_size(&unit.rate(rate, messages), measured.runs)
        }
        _ => messages.estimate_unknown(),
    }
}

/// How long a backup of `spec` will take, by earlier ones, newest first. Bytes where they are known, else objects.
pub(crate) fn of_backup(
    spec: &BackupSpec,
    past: &[PastBackup],
    limit: Option<u64>,
    messages: Messages,
) -> String {
    let unit = match past.iter().any(|past| past.bytes > 0) {
        true => Unit::Bytes,
        false => Unit::Objects,
    };
    let amount = |past: &PastBackup| match unit {
        Unit::Bytes => past.bytes,
        Unit::Objects => past.items,
    };
    let mut measured = Measured::default();
    for past in past {
        measured.add(amount(past), past.took);
    }
    let expected = past.iter().find(|past| past.is_like(spec)).map(amount);
    let limit = limit.filter(|_| unit == Unit::Bytes);
    sentence(expected, &measured, limit, unit, messages)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use salvor_text::Language;

    use super::*;

    #[test]
    fn an_estimate_says_what_it_stands_on() {
        let english = Messages::new(Language::English);
        let nothing = Measured::default();
        let mut measured = Measured::default();
        measured.add(60 << 20, Duration::from_secs(30));
        let say = |amount, measured: &Measured, limit, unit| {
            sentence(amount, measured, limit, unit, english)
        };
        for (text, words) in [
            (
                say(Some(100 << 20), &measured, None, Unit::Bytes),
                "about 50 s for 100 MiB (measured on 1 earlier run: 2 MiB/s)",
            ),
            (
                say(Some(100 << 20), &measured, Some(1 << 20), Unit::Bytes),
                "at least 1 m 40 s for 100 MiB (limited to 1 MiB/s)",
            ),
            (
                say(None, &measured, None, Unit::Bytes),
                "unknown, as no earlier run was of the same selection",
            ),
            (
                say(Some(7), &nothing, None, Unit::Objects),
                "unknown, as nothing was measured",
            ),
            (
                say(Some(1 << 20), &nothing, Some(1 << 19), Unit::Bytes),
                "at least 2 s for 1 MiB (limited to 512 KiB/s)",
            ),
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}
