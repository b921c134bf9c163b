//! When a certificate ends: the one thing that we read of certificates which the TLS library does not tell.

/// One element: its tag, its contents, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let digits = usize::from(first & 0x7f);
        // A certificate is far shorter than four digits tell.
        if digits == 0 || digits > 4 {
            return None;
        }
        let (written, after) = rest.split_at_checked(digits)?;
        length = written
            .iter()
            .fold(0, |length, digit| (length << 8) | usize::from(*digit));
        rest = after;
    }
    let (contents, after) = rest.split_at_checked(length)?;
    Some((tag, contents, after))
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_VERSION: u8 = 0xa0;

/// From when to when a certificate holds, in seconds since 1970; `None` for bytes that are none.
pub(super) fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate, _) = element(certificate)?;
    let (_, body, _) = element(certificate)?;
    let (tag, _, after) = element(body)?;
    // Certificates of the first version do not say which they are.
    let body = if tag == EXPLICIT_VERSION { after } else { body };
    let mut rest = body;
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (_, times, _) = element(rest)?;
    let (tag, from, rest) = element(times)?;
    let from = time(tag, from)?;
    let (tag, until, _) = element(rest)?;
    Some((from, time(tag, until)?))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            // Two digits mean 1950 to 2049.
            let century = if text < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        (GENERALIZED_TIME, 14) => text.to_owned(),
        _ => return None,
    };
    let number = |range: std::ops::Range<usize>| text[range].parse::<i8>().ok();
    let year = text[..4].parse().ok()?;
    let time = jiff::civil::DateTime::new(
        year,
        number(4..6)?,
        number(6..8)?,
        number(8..10)?,
        number(10..12)?,
        number(12..14)?,
        0,
    );
    let zoned = time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "20501301000000Z", None),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "7001010000+1Z", None),
            (UTC_TIME, "", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn hostile_bytes_are_no_certificate() {
        let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("made");
        let bytes = made.cert.der().to_vec();
        assert!(validity(&bytes).is_some());
        for end in 0..bytes.len() {
            assert_eq!(validity(&bytes[..end]), None, "{end}");
        }
        for at in 0..bytes.len() {
            for byte in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                // Whatever it says, it says it without a panic.
                let _ = validity(&bytes);
            }
        }
    }
}
