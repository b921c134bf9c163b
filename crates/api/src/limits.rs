//! How fast a location may be used, as annotations and flags say it.

use crate::labels;
use crate::meta::StringMap;
use crate::quantity::Quantity;

/// Fewest bytes per second that may be asked for: on a slower line the time limits of store requests run out.
const SLOWEST: u64 = 64 << 10;

/// How fast a location, or one run, may use its store; `None` is as fast as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferLimits {
    /// Bytes per second to the store.
    pub upload: Option<u64>,
    /// Bytes per second from the store.
    pub download: Option<u64>,
    /// Operations per second.
    pub requests: Option<u64>,
    /// Operations in flight.
    pub in_flight: Option<u64>,
}

impl TransferLimits {
    /// The limits that the annotations of a location, backup or restore state.
    ///
    /// # Errors
    /// What is wrong with which annotation, in one sentence.
    pub fn of(annotations: &StringMap) -> Result<Self, String> {
        let read = |key: &str, parse: fn(&str) -> Result<Option<u64>, String>| match annotations
            .get(key)
        {
            Some(text) => parse(text).map_err(|reason| format!("annotation {key}: {reason}")),
            None => Ok(None),
        };
        Ok(Self {
            upload: read(labels::UPLOAD_LIMIT, bytes_per_second)?,
            download: read(labels::DOWNLOAD_LIMIT, bytes_per_second)?,
            requests: read(labels::REQUEST_LIMIT, count)?,
            in_flight: read(labels::IN_FLIGHT_LIMIT, count)?,
        })
    }

    /// True when nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Bytes per second: a quantity, with or without `B` and `/s`. `None` for `none`, which lifts a limit.
///
/// # Errors
/// It is no such thing, or too little to work with.
pub fn bytes_per_second(text: &str) -> Result<Option<u64>, String> {
    let text = text.trim();
    if text == "none" {
        return Ok(None);
    }
    let plain = text.strip_suffix("/s").unwrap_or(text);
    let plain = plain.strip_suffix('B').unwrap_or(plain);
    let quantity: Quantity = plain
        .parse()
        .map_err(|_| format!("`{text}` is no amount of bytes per second such as 50Mi or 12.5M"))?;
    let rate = u64::try_from(quantity.whole()).unwrap_or(u64::MAX);
    if rate < SLOWEST {
        return Err(format!(
            "`{text}` is less than 64Ki bytes per second, at which store requests run out of time"
        ));
    }
    Ok(Some(rate))
}

/// How many, per second or at once. `None` for `none`, which lifts a limit.
///
/// # Errors
/// It is no whole number above zero.
pub fn count(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "none" => Ok(None),
        number => match number.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(format!("`{text}` is no whole number above zero")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_quantity_that_store_requests_can_live_with() {
        for (text, rate) in [
            ("50Mi", Some(50 << 20)),
            (" 12.5M ", Some(12_500_000)),
            ("1MiB/s", Some(1 << 20)),
            ("65536", Some(65_536)),
            ("64KiB", Some(65_536)),
            ("900E", Some(u64::MAX)),
            ("none", None),
        ] {
            assert_eq!(bytes_per_second(text), Ok(rate), "{text}");
        }
        for text in ["", "0", "-5Mi", "fast", "65535", "50m", "1 Mi", "B/s"] {
            assert!(bytes_per_second(text).is_err(), "{text}");
        }
    }

    #[test]
    fn annotations_say_which_of_them_is_wrong() {
        let annotations =
            |key: &str, value: &str| StringMap::from([(key.to_owned(), value.to_owned())]);
        let limits = TransferLimits::of(&annotations(labels::REQUEST_LIMIT, "20"));
        assert_eq!(limits.expect("valid").requests, Some(20));
        assert!(
            TransferLimits::of(&StringMap::default())
                .expect("valid")
                .is_empty()
        );
        for (key, value) in [
            (labels::UPLOAD_LIMIT, "much"),
            (labels::DOWNLOAD_LIMIT, "1Ki"),
            (labels::REQUEST_LIMIT, "0"),
            (labels::IN_FLIGHT_LIMIT, "1.5"),
        ] {
            let error = TransferLimits::of(&annotations(key, value)).expect_err(value);
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
