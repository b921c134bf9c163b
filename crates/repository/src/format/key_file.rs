//! Key files: the master key, sealed with a key that scrypt makes of a password.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_seal::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::MasterKey;

/// Most memory that a key file may ask scrypt for, in bytes: more is an attack.
const MOST_MEMORY: u64 = 1 << 30;
/// Bytes of salt.
const SALT: usize = 64;

/// How much work it is to try a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// For keys of at least 128 random bits, which nobody can guess: opening costs about a millisecond.
    Machine,
    /// For passwords that people made: about half a second on the machine that adds the key.
    Passphrase,
}

/// A key file.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made.
    pub created: String,
    /// By whom.
    pub username: String,
    /// Where.
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

/// Why a key file gave no key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The password is another's.
    Password,
    /// The file is not what it should be.
    Damaged(String),
}

impl KeyFile {
    /// Seals `master` for whoever knows `password`.
    pub(crate) fn seal(
        master: &MasterKey,
        password: &Secret,
        work: Work,
        who: (&str, &str),
    ) -> std::io::Result<Self> {
        let (n, r, p) = match work {
            Work::Machine => (1024, 8, 1),
            Work::Passphrase => (calibrated(), 8, 1),
        };
        let mut salt = [0_u8; SALT];
        getrandom::fill(&mut salt).map_err(|e| std::io::Error::other(e.to_string()))?;
        let user = derive(password, &salt, n, r, p).map_err(std::io::Error::other)?;
        Ok(Self {
            created: jiff::Timestamp::now().to_string(),
            username: who.0.to_owned(),
            hostname: who.1.to_owned(),
            kdf: "scrypt".to_owned(),
            n,
            r,
            p,
            salt: BASE64.encode(salt),
            data: BASE64.encode(user.seal(&master.to_json())?),
        })
    }

    /// The master key.
    pub(crate) fn open(&self, password: &Secret) -> Result<MasterKey, NoKey> {
        let damaged = |what: &str| NoKey::Damaged(what.to_owned());
        if self.kdf != "scrypt" {
            return Err(NoKey::Damaged(format!(
                "its key derivation `{}` is unknown",
                self.kdf
            )));
        }
        let salt = BASE64
            .decode(&self.salt)
            .map_err(|_| damaged("its salt is not base64"))?;
        let data = BASE64
            .decode(&self.data)
            .map_err(|_| damaged("its data is not base64"))?;
        let user = derive(password, &salt, self.n, self.r, self.p).map_err(NoKey::Damaged)?;
        let json = Zeroizing::new(user.open(&data).map_err(|_| NoKey::Password)?);
        MasterKey::from_json(&json).ok_or_else(|| damaged("what it seals is no key"))
    }
}

fn derive(password: &Secret, salt: &[u8], n: u64, r: u32, p: u32) -> Result<MasterKey, String> {
    let absurd = || format!("its work factors N={n} r={r} p={p} are not acceptable");
    let memory = 128_u64
        .checked_mul(n)
        .and_then(|m| m.checked_mul(u64::from(r)));
    if n < 2 || !n.is_power_of_two() || r == 0 || !(1..=64).contains(&p) {
        return Err(absurd());
    }
    if memory.is_none_or(|memory| memory > MOST_MEMORY) {
        return Err(absurd());
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| absurd())?;
    let params = scrypt::Params::new(log_n, r, p, 64).map_err(|_| absurd())?;
    let mut bytes = Zeroizing::new([0_u8; 64]);
    scrypt::scrypt(password.expose().as_bytes(), salt, &params, &mut *bytes)
        .map_err(|_| absurd())?;
    Ok(MasterKey::from_bytes(&bytes))
}

/// N for half a second on this machine, at least restic's least (2^15) and at most 2^18 (256 MiB).
fn calibrated() -> u64 {
    let begin = Instant::now();
    let probe = derive(&Secret::new("probe".to_owned()), &[0; SALT], 1 << 13, 8, 1);
    let millis = begin.elapsed().as_millis().max(1);
    debug_assert!(probe.is_ok());
    let mut n = 1_u64 << 13;
    let mut cost = millis;
    while (cost * 2 <= 500 || n < 1 << 15) && n < 1 << 18 {
        n *= 2;
        cost *= 2;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn only_the_password_opens_it_and_hostile_work_is_refused() {
        let master = MasterKey::from_bytes(&[9; 64]);
        let file =
            KeyFile::seal(&master, &secret("right"), Work::Machine, ("u", "h")).expect("seals");
        let opened = file.open(&secret("right")).expect("the password is right");
        assert_eq!(opened.root(), master.root());
        assert_eq!(file.open(&secret("wrong")).err(), Some(NoKey::Password));
        for (n, r, p) in [
            (0, 8, 1),
            (3, 8, 1),
            (1 << 40, 8, 1),
            (1024, 0, 1),
            (1024, 8, 0),
            (1 << 62, u32::MAX, 1),
            (1024, 8, 1 << 20),
        ] {
            let hostile = KeyFile {
                n,
                r,
                p,
                ..file.clone()
            };
            assert!(
                matches!(hostile.open(&secret("right")), Err(NoKey::Damaged(_))),
                "{n} {r} {p}"
            );
        }
    }
}
