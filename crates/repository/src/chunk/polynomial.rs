//! Polynomials over GF(2), as restic's chunker uses them: bit `i` is the coefficient of `x^i`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A polynomial of degree at most 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polynomial(pub u64);

/// Degree of the polynomials that chunkers use.
const DEGREE: u32 = 53;

impl Polynomial {
    /// The degree; `None` for zero.
    #[must_use]
    pub fn degree(self) -> Option<u32> {
        self.0.checked_ilog2()
    }

    /// The remainder of a division. By zero it is the dividend.
    #[must_use]
    pub fn modulo(self, by: Self) -> Self {
        let Some(degree) = by.degree() else {
            return self;
        };
        let mut rest = self.0;
        while let Some(high) = rest.checked_ilog2().filter(|high| *high >= degree) {
            rest ^= by.0 << (high - degree);
        }
        Self(rest)
    }

    /// The product modulo a polynomial.
    fn times(self, other: Self, modulus: Self) -> Self {
        let top = modulus.degree().map_or(0, |degree| 1_u64 << degree);
        let (mut product, mut a, mut b) = (0, self.modulo(modulus).0, other.modulo(modulus).0);
        while b != 0 {
            if b & 1 != 0 {
                product ^= a;
            }
            b >>= 1;
            a <<= 1;
            if a & top != 0 {
                a ^= modulus.0;
            }
        }
        Self(product)
    }

    fn gcd(self, other: Self) -> Self {
        let (mut a, mut b) = (self, other);
        while b.0 != 0 {
            (a, b) = (b, a.modulo(b));
        }
        a
    }

    /// Whether it has no factors (Ben-Or's test).
    #[must_use]
    pub fn is_irreducible(self) -> bool {
        let Some(degree) = self.degree().filter(|degree| *degree > 0) else {
            return false;
        };
        let x = Self(2);
        let mut power = x;
        for _ in 0..degree / 2 {
            power = power.times(power, self);
            if self.gcd(Self(power.0 ^ x.0)).0 != 1 {
                return false;
            }
        }
        true
    }

    /// A random irreducible one of the degree that chunkers use.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> std::io::Result<Self> {
        loop {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
            // One in about 27 has no factors when the lowest coefficient is 1.
            let low = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1);
            let candidate = Self(1 << DEGREE | low | 1);
            if candidate.is_irreducible() {
                return Ok(candidate);
            }
        }
    }
}

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_polynomials_are_told_apart() {
        // x^2+x+1, x^3+x+1, x^8+x^4+x^3+x+1 (AES), restic's test polynomial.
        for prime in [0b111, 0b1011, 0x11b, 0x003D_A335_8B4D_C173] {
            assert!(Polynomial(prime).is_irreducible(), "{prime:x}");
        }
        // x^2+1 = (x+1)^2, x^2, AES's times x+1, 1, 0.
        for composite in [0b101, 0b100, 0x11b ^ 0x11b << 1, 1, 0] {
            assert!(!Polynomial(composite).is_irreducible(), "{composite:x}");
        }
    }

    #[test]
    fn random_ones_are_fit_and_differ() {
        let (a, b) = (
            Polynomial::random().expect("random"),
            Polynomial::random().expect("random"),
        );
        assert_eq!((a.degree(), b.degree()), (Some(53), Some(53)));
        assert!(a.is_irreducible() && b.is_irreducible() && a != b);
    }
}
