//! Our own small authority, and when it and its certificates are made anew: pure functions of time.

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};

use super::{CA_CERTIFICATES, der};

const DAY: i64 = 24 * 3600;
/// How long an authority lasts.
const AUTHORITY_LASTS: i64 = 3650 * DAY;
/// How long before its end an authority gets a successor.
const SUCCESSOR_AHEAD: i64 = 365 * DAY;
/// How long a successor is published before it signs: clients that keep a copy of the authority's certificates
/// have this long to fetch them again.
const SUCCESSOR_WAITS: i64 = 60 * DAY;
/// How long the certificate of a server or client lasts.
const CERTIFICATE_LASTS: i64 = 90 * DAY;
/// How far clocks may be apart.
const SKEW: i64 = 3600;

const CA_KEY: &str = "ca.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const RETIRED: &str = "retired.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make {what}")]
pub struct AuthorityError {
    what: String,
    #[source]
    source: rcgen::Error,
}

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, and what leads to its authority.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// Who signs certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(Pair);

/// For whom a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Server,
    Client,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn generate(now: i64) -> Result<Self, AuthorityError> {
        let failed = |source| AuthorityError {
            what: "an authority".to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = parameters(&key);
        holds(&mut params, now - SKEW, now + AUTHORITY_LASTS);
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }))
    }

    /// The one whose certificate and key these are.
    #[must_use]
    pub fn from_pair(pair: Pair) -> Self {
        Self(pair)
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.0.certificate
    }

    /// A certificate for a server of these names and addresses.
    ///
    /// # Errors
    /// A name is none, or the key of the authority cannot be read.
    pub fn server(&self, names: &[String], now: i64) -> Result<Pair, AuthorityError> {
        self.sign(names, Use::Server, now)
    }

    /// A certificate for a client, which is known by `name`, a DNS name.
    ///
    /// # Errors
    /// As [`Authority::server`].
    pub fn client(&self, name: &str, now: i64) -> Result<Pair, AuthorityError> {
        self.sign(&[name.to_owned()], Use::Client, now)
    }

    fn sign(&self, names: &[String], for_use: Use, now: i64) -> Result<Pair, AuthorityError> {
        let failed = |source| AuthorityError {
            what: format!("a certificate for {}", names.join(", ")),
            source,
        };
        let authority = KeyPair::from_pem(&self.0.key).map_err(failed)?;
        let issuer = Issuer::new(parameters(&authority), authority);
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.remove(DnType::CommonName);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match for_use {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        holds(&mut params, now - SKEW, now + CERTIFICATE_LASTS);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok(Pair {
            // The authority's own comes along: it says who signed.
            certificate: certificate.pem() + &self.0.certificate,
            key: key.serialize_pem(),
        })
    }
}

/// What an authority of this key is called and may do. Its name is made of the key, so that the certificate need
/// not be read to sign in its name.
fn parameters(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let digest = Sha256::digest(key.der_bytes());
    let short: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Salvor authority {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// From when to when it holds, in seconds since 1970.
fn holds(params: &mut CertificateParams, from: i64, until: i64) {
    let at = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (at(from), at(until));
}

/// What the Secret holds of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    authority: Option<Pair>,
    /// It signs later; clients know it already.
    next: Option<Pair>,
    /// It signs no more; what it signed may still be in use.
    retired: String,
    server: Option<Pair>,
}

impl Stored {
    pub(super) fn read(data: &BTreeMap<String, Vec<u8>>) -> Self {
        let text = |key: &str| {
            let bytes = data.get(key)?;
            let text = String::from_utf8(bytes.clone()).ok()?;
            (!text.is_empty()).then_some(text)
        };
        let pair = |certificate: &str, key: &str| {
            Some(Pair {
                certificate: text(certificate)?,
                key: text(key)?,
            })
        };
        let mut authority = pair(CA_CERTIFICATES, CA_KEY);
        if let Some(authority) = &mut authority {
            // The first is ours, the others are for clients.
            authority.certificate = first_of(&authority.certificate);
        }
        Self {
            authority,
            next: pair(NEXT_CERTIFICATE, NEXT_KEY),
            retired: text(RETIRED).unwrap_or_default(),
            server: pair(CERTIFICATE, KEY),
        }
    }

    pub(super) fn write(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: &str| {
            data.insert(key.to_owned(), text.as_bytes().to_vec());
        };
        let none = Pair {
            certificate: String::new(),
            key: String::new(),
        };
        let or_none = |pair: &Option<Pair>| pair.clone().unwrap_or_else(|| none.clone());
        let (authority, next) = (or_none(&self.authority), or_none(&self.next));
        let server = or_none(&self.server);
        put(CA_CERTIFICATES, &self.bundle());
        put(CA_KEY, &authority.key);
        put(NEXT_CERTIFICATE, &next.certificate);
        put(NEXT_KEY, &next.key);
        put(RETIRED, &self.retired);
        put(CERTIFICATE, &server.certificate);
        put(KEY, &server.key);
        data
    }

    /// Certificates that clients trust, the one that signs first.
    pub(super) fn bundle(&self) -> String {
        let of = |pair: &Option<Pair>| {
            pair.as_ref()
                .map_or(String::new(), |p| p.certificate.clone())
        };
        of(&self.authority) + &of(&self.next) + &self.retired
    }

    pub(super) fn server(&self) -> Option<&Pair> {
        self.server.as_ref()
    }

    /// What is to be stored instead; `None` while all is good for some time.
    pub(super) fn renewed(
        &self,
        names: &[String],
        now: i64,
    ) -> Result<Option<Self>, AuthorityError> {
        let mut after = self.clone();
        let ends = |pair: &Option<Pair>| {
            let pair = pair.as_ref()?;
            KeyPair::from_pem(&pair.key).ok()?;
            life(&pair.certificate)
        };
        // Far ahead a next one is made; far enough ahead that the next one takes over in time.
        match ends(&self.authority) {
            Some((_, end)) if end > now => {
                if end - now < SUCCESSOR_AHEAD && ends(&self.next).is_none() {
                    after.next = Some(Authority::generate(now)?.0);
                }
            }
            _ => {
                let next = after.next.take().filter(|_| ends(&self.next).is_some());
                after.authority = Some(match next {
                    Some(next) => next,
                    None => Authority::generate(now)?.0,
                });
            }
        }
        if let Some((from, _)) = ends(&after.next)
            && now - from >= SUCCESSOR_WAITS
        {
            let old = std::mem::replace(&mut after.authority, after.next.take());
            after.retired += &old.map_or(String::new(), |old| old.certificate);
        }
        let lives = |pem: &String| life(pem).is_some_and(|(_, end)| end > now);
        after.retired = certificates(&after.retired)
            .into_iter()
            .filter(lives)
            .collect();
        let Some(authority) = &after.authority else {
            return Ok(None);
        };
        let good = after
            .server
            .as_ref()
            .is_some_and(|server| is_good(server, authority, names, now));
        if !good {
            let authority = Authority::from_pair(authority.clone());
            after.server = Some(authority.server(names, now)?);
        }
        Ok((after != *self).then_some(after))
    }
}

/// True when a server's certificate is of this authority, has all names, and more than a third of its life.
fn is_good(server: &Pair, authority: &Pair, names: &[String], now: i64) -> bool {
    let chain = certificates(&server.certificate);
    let signed_by = chain.get(1);
    let Some((from, until)) = life(&server.certificate) else {
        return false;
    };
    signed_by.is_some_and(|by| by.trim() == authority.certificate.trim())
        && until - now > (until - from) / 3
        && KeyPair::from_pem(&server.key).is_ok()
        && names.iter().all(|name| is_for(&server.certificate, name))
}

fn is_for(certificate: &str, name: &str) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(certificate.as_bytes()) else {
        return false;
    };
    let (Ok(parsed), Ok(name)) = (
        ParsedCertificate::try_from(&der),
        ServerName::try_from(name),
    ) else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

/// From when to when the first certificate of a text holds.
pub(super) fn life(pem: &str) -> Option<(i64, i64)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    der::validity(&der)
}

const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a text, each with its lines.
fn certificates(pem: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = pem;
    while let Some(end) = rest.find(END) {
        let (one, after) = rest.split_at(end + END.len());
        found.push(format!("{}\n", one.trim_start()));
        rest = after;
    }
    found
}

fn first_of(pem: &str) -> String {
    certificates(pem).into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn names() -> Vec<String> {
        ["salvor.velero.svc", "127.0.0.1"]
            .map(str::to_owned)
            .to_vec()
    }

    fn renewed(stored: &Stored, now: i64) -> Option<Stored> {
        let after = stored.renewed(&names(), now).expect("random numbers");
        // It survives the Secret.
        after.inspect(|after| assert_eq!(Stored::read(&after.write()), *after))
    }

    #[test]
    fn twelve_years_pass_and_there_is_always_a_good_certificate_that_clients_know() {
        let mut stored = Stored::default();
        let mut published: Vec<(i64, String)> = Vec::new();
        let mut writes = 0;
        for day in 0..12 * 365 {
            let now = NOW + day * DAY;
            if let Some(after) = renewed(&stored, now) {
                writes += 1;
                stored = after;
            }
            assert_eq!(renewed(&stored, now), None, "day {day}: once is enough");
            published.push((now, stored.bundle()));
            let server = stored.server().expect("always");
            let (_, until) = life(&server.certificate).expect("a certificate");
            assert!(until - now >= CERTIFICATE_LASTS / 3 - DAY, "day {day}");
            // A client that read the authorities eight weeks ago knows who signed.
            let signer = certificates(&server.certificate)[1].clone();
            let known = published.iter().find(|(at, _)| *at >= now - 56 * DAY);
            let known = &known.expect("published").1;
            assert!(known.contains(signer.trim()), "day {day}");
            let (_, ends) = life(&signer).expect("a certificate");
            assert!(ends > until, "day {day}: it outlives what it signed");
        }
        assert!((70..90).contains(&writes), "{writes}");
        let bundle = certificates(&stored.bundle());
        assert_eq!(bundle.len(), 1, "the first authority is gone");
    }

    #[test]
    fn another_name_a_lost_key_or_damage_is_made_good() {
        let first = renewed(&Stored::default(), NOW).expect("made");
        let more = [names(), vec!["backups.example.com".to_owned()]].concat();
        let after = first.renewed(&more, NOW).expect("made").expect("renewed");
        assert_eq!(after.authority, first.authority);
        assert_ne!(after.server, first.server);
        for key in [CERTIFICATE, KEY, CA_KEY, CA_CERTIFICATES] {
            for damage in [
                Vec::new(),
                b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n".to_vec(),
            ] {
                let mut data = first.write();
                data.insert(key.to_owned(), damage);
                let after = renewed(&Stored::read(&data), NOW).expect(key);
                assert_eq!(renewed(&after, NOW), None, "{key}");
            }
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let pair = Authority::generate(NOW)
            .expect("made")
            .client("a.b", NOW)
            .expect("made");
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }
}
