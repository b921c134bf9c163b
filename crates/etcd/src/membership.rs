//! Members of a cluster and the ids that follow from their addresses.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// Why members cannot be those of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A part of a list is not `NAME=URL`.
    #[error(
        "`{0}` is not NAME=URL: name members as in `m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380`"
    )]
    Part(String),
    /// An address is none.
    #[error("`{url}` is no peer URL: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody is named.
    #[error("no member is named")]
    Empty,
    /// Two members get the same id.
    #[error("members `{first}` and `{second}` have the same addresses")]
    SameAddresses {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// An id is zero, which Raft has no use for.
    #[error("the addresses of member `{0}` give the id 0: use another cluster token")]
    Zero(String),
    /// The member that is meant is not in the list.
    #[error("member `{name}` is not among the members {known}")]
    Unknown {
        /// Which.
        name: String,
        /// Names of those in the list.
        known: String,
    },
    /// The addresses of a member differ from those in the list.
    #[error(
        "member `{name}` advertises {given}, and the list of members says {listed}: they must be the same"
    )]
    OtherAddresses {
        /// Which.
        name: String,
        /// What was given.
        given: String,
        /// What the list says.
        listed: String,
    },
}

/// Addresses for peers, sorted. Text form: separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrls(Vec<String>);

impl FromStr for PeerUrls {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let urls = text.split(',').map(|url| {
            let url = url.trim();
            check_url(url).map(|()| url.to_owned())
        });
        let mut urls = urls.collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        Ok(Self(urls))
    }
}

impl std::fmt::Display for PeerUrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// etcd's own rules: a scheme it knows, host and port, nothing behind them. The text stays as it is, since ids follow
/// from it.
fn check_url(url: &str) -> Result<(), Error> {
    let bad = |why| {
        Err(Error::Url {
            url: url.to_owned(),
            why,
        })
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return bad("it has no scheme: http or https");
    };
    match scheme {
        "http" | "https" => {}
        "unix" | "unixs" if !rest.is_empty() => return Ok(()),
        _ => return bad("its scheme is none of http, https, unix and unixs"),
    }
    if rest.contains(['/', '?', '#', '@']) {
        return bad("it has more than host and port");
    }
    let Some((host, port)) = rest.rsplit_once(':') else {
        return bad("it has no port");
    };
    if port.parse::<u16>().is_err() {
        return bad("its port is no number from 0 to 65535");
    }
    let brackets = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains(':') != brackets || host.contains(char::is_whitespace) {
        return bad("its host is none; an IPv6 address stands in brackets");
    }
    Ok(())
}

/// A member as etcd stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The id.
    pub id: u64,
    /// Addresses for peers, sorted.
    #[serde(rename = "peerURLs", default, deserialize_with = "nullable")]
    pub peer_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[serde(
        rename = "isLearner",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub is_learner: bool,
    /// The name; absent until the member has said it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Addresses for clients.
    #[serde(
        rename = "clientURLs",
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub client_urls: Vec<String>,
}

/// Go writes an absent list as `null`.
fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Member {
    /// The key of its row.
    #[must_use]
    pub fn row_key(&self) -> String {
        format!("{:x}", self.id)
    }

    /// Its JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and text are always JSON")
    }
}

/// Members that begin together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    id: u64,
    members: Vec<Member>,
}

impl Cluster {
    /// The cluster of `NAME=URL,...`; a name may stand several times.
    ///
    /// # Errors
    /// The list is not of this form, or two members would be the same one.
    pub fn new(members: &str, token: &str) -> Result<Self, Error> {
        let mut urls: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for part in members
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let named = part.split_once('=');
            let (name, url) = named
                .filter(|(name, url)| !name.is_empty() && !url.is_empty())
                .ok_or_else(|| Error::Part(part.to_owned()))?;
            urls.entry(name).or_default().push(url);
        }
        let mut members: Vec<Member> = Vec::new();
        for (name, urls) in urls {
            let urls: PeerUrls = urls.join(",").parse()?;
            let id = first_half(Sha1::digest(urls.0.concat() + token).as_slice());
            if id == 0 {
                return Err(Error::Zero(name.to_owned()));
            }
            if let Some(other) = members.iter().find(|member| member.id == id) {
                return Err(Error::SameAddresses {
                    first: other.name.clone(),
                    second: name.to_owned(),
                });
            }
            members.push(Member {
                id,
                peer_urls: urls.0,
                is_learner: false,
                name: name.to_owned(),
                client_urls: Vec::new(),
            });
        }
        if members.is_empty() {
            return Err(Error::Empty);
        }
        members.sort_by_key(|member| member.id);
        let ids: Vec<u8> = members
            .iter()
            .flat_map(|member| member.id.to_be_bytes())
            .collect();
        let id = first_half(Sha1::digest(&ids).as_slice());
        Ok(Self { id, members })
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The members, by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of a name, whose addresses must be `urls`.
    ///
    /// # Errors
    /// There is none, or it has others.
    pub fn member(&self, name: &str, urls: &PeerUrls) -> Result<&Member, Error> {
        let member = self.members.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| {
            let known = self
                .members
                .iter()
                .map(|member| format!("`{}`", member.name));
            Error::Unknown {
                name: name.to_owned(),
                known: known.collect::<Vec<_>>().join(", "),
            }
        })?;
        if member.peer_urls == urls.0 {
            return Ok(member);
        }
        Err(Error::OtherAddresses {
            name: name.to_owned(),
            given: urls.to_string(),
            listed: member.peer_urls.join(","),
        })
    }
}

/// The first 8 bytes as a number.
fn first_half(digest: &[u8]) -> u64 {
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_etcd() {
        // As etcd logs them for `--name default` without further flags.
        let cluster = Cluster::new("default=http://localhost:2380", "etcd-cluster").expect("valid");
        assert_eq!(cluster.members()[0].row_key(), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster.id()), "cdf818194e3a8c32");
    }

    #[test]
    fn members_stand_by_id_whatever_the_order_they_are_given_in() {
        let one = Cluster::new("a=http://h:1,b=http://h:2,c=http://h:3,a=http://h:0", "t");
        let two = Cluster::new("c=http://h:3, a=http://h:0,a=http://h:1,b=http://h:2,", "t");
        let one = one.expect("valid");
        assert_eq!(Ok(&one), two.as_ref());
        assert!(one.members().is_sorted_by_key(|member| member.id));
        let other = Cluster::new("a=http://h:1,b=http://h:2", "u").expect("valid");
        assert_ne!(one.id(), other.id());
        let a = one.member("a", &"http://h:1,http://h:0".parse().expect("valid"));
        assert_eq!(
            a.expect("the same addresses").peer_urls,
            ["http://h:0", "http://h:1"]
        );
    }

    #[test]
    fn wrong_lists_are_refused_with_what_is_wrong() {
        for (list, part) in [
            ("", "no member"),
            ("a", "not NAME=URL"),
            ("=http://h:1", "not NAME=URL"),
            ("a=http://h:1,b=http://h:1", "same addresses"),
            ("a=h:1", "no scheme"),
            ("a=ftp://h:1", "scheme is none"),
            ("a=http://h", "no port"),
            ("a=http://h:x", "port is no number"),
            ("a=http://h:1/x", "more than host and port"),
            ("a=http://:1", "host is none"),
            ("a=http://::1:1", "brackets"),
        ] {
            let error = Cluster::new(list, "t").expect_err(list).to_string();
            assert!(error.contains(part), "{list}: {error}");
        }
        let cluster = Cluster::new("a=http://[::1]:1", "t").expect("valid");
        let urls: PeerUrls = "http://h:2".parse().expect("valid");
        for (name, part) in [
            ("b", "not among the members `a`"),
            ("a", "must be the same"),
        ] {
            let error = cluster.member(name, &urls).expect_err(name).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn rows_are_read_with_nulls_and_unknown_fields() {
        let row = br#"{"id":7,"peerURLs":["http://h:1"],"name":"a","clientURLs":null,"x":1}"#;
        let member: Member = serde_json::from_slice(row).expect("valid");
        assert_eq!(
            String::from_utf8_lossy(&member.to_json()),
            r#"{"id":7,"peerURLs":["http://h:1"],"name":"a"}"#
        );
    }
}
