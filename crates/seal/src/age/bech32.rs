//! Bech32, the text form of age's keys (BIP 173, without its limit of 90 characters).

const DIGITS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// A text of a human-readable part and bytes, in lower case.
pub(super) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let mut digits = regroup(bytes, 8, 5);
    let mut all = expanded(prefix);
    all.extend(&digits);
    all.extend([0; 6]);
    let sum = checksum(&all) ^ 1;
    digits.extend((0..6).map(|i| ((sum >> (5 * (5 - i))) & 31) as u8));
    let mut text = format!("{prefix}1");
    text.extend(
        digits
            .iter()
            .map(|digit| char::from(DIGITS[usize::from(*digit)])),
    );
    text
}

/// The bytes of a text with this human-readable part; all of it in one case.
pub(super) fn decode(prefix: &str, text: &str) -> Result<Vec<u8>, &'static str> {
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    if has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) {
        return Err("it mixes upper and lower case");
    }
    let text = text.to_ascii_lowercase();
    let (found, digits) = text.rsplit_once('1').ok_or("it has no separator")?;
    if found != prefix {
        return Err("it begins otherwise");
    }
    let digits: Option<Vec<u8>> = digits
        .bytes()
        .map(|one| {
            DIGITS
                .iter()
                .position(|digit| *digit == one)
                .map(|at| at as u8)
        })
        .collect();
    let digits = digits.ok_or("it has a character that cannot be")?;
    let mut all = expanded(prefix);
    all.extend(&digits);
    if digits.len() < 6 || checksum(&all) != 1 {
        return Err("its checksum is wrong: a character is missing or mistyped");
    }
    let digits = &digits[..digits.len() - 6];
    let bytes = regroup(digits, 5, 8);
    // What is left over are zero bits, fewer than one digit's.
    let whole = digits.len() * 5 / 8;
    if digits.len() * 5 % 8 >= 5 || bytes[whole..].iter().any(|byte| *byte != 0) {
        return Err("it ends within a byte");
    }
    Ok(bytes[..whole].to_vec())
}

/// Bits in groups of `from` as bits in groups of `to`, with zeros at the end.
fn regroup(groups: &[u8], from: u32, to: u32) -> Vec<u8> {
    let (mut held, mut bits) = (0_u32, 0);
    let mut out = Vec::new();
    for group in groups {
        held = (held << from) | u32::from(*group);
        bits += from;
        while bits >= to {
            bits -= to;
            out.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    if bits > 0 {
        out.push((held << (to - bits)) as u8);
    }
    out
}

fn expanded(prefix: &str) -> Vec<u8> {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    high.chain([0]).chain(low).collect()
}

fn checksum(values: &[u8]) -> u32 {
    const GENERATOR: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let mut sum = 1_u32;
    for value in values {
        let top = sum >> 25;
        sum = ((sum & 0x01ff_ffff) << 5) ^ u32::from(*value);
        for (bit, term) in GENERATOR.iter().enumerate() {
            if (top >> bit) & 1 == 1 {
                sum ^= term;
            }
        }
    }
    sum
}
