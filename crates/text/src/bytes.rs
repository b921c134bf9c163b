//! Sizes in bytes.

use std::fmt;

/// A number of bytes, shown in binary units with one decimal: `512 B`, `1.5 KiB`, `20 MiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut unit = 0;
        let mut scale: u64 = 1024;
        while self.0 / scale >= 1024 && unit + 1 < UNITS.len() {
            scale *= 1024;
            unit += 1;
        }
        // Tenths in u128: the largest counts times ten do not fit 64 bits.
        let tenths = u128::from(self.0) * 10 / u128::from(scale);
        let (whole, tenth) = (tenths / 10, tenths % 10);
        f.pad(&if whole >= 10 || tenth == 0 {
            format!("{whole} {}", UNITS[unit])
        } else {
            format!("{whole}.{tenth} {}", UNITS[unit])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_at_most_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (20 << 20, "20 MiB"),
            ((3 << 30) + (1 << 29), "3.5 GiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(ByteCount(bytes).to_string(), text);
        }
    }
}
