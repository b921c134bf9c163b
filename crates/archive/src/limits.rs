//! How much an archive may cost to read.

/// Bounds on reading an archive that someone else may have made.
///
/// Every archive is read under limits; [`Limits::default`] is meant for archives of a location that users
/// chose themselves and still stops a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of tar that an archive may decompress to. Default 16 GiB, which is also where Velero
    /// 1.19 stops; about two million objects.
    pub max_total_uncompressed: u64,
    /// Longest body of one item, in bytes; it is held in memory. Default 64 MiB: API servers refuse
    /// requests beyond 3 MiB and etcd beyond 1.5 MiB unless configured otherwise (10 MiB is the most that
    /// etcd's authors advise), so this leaves room for every object that existed in a cluster.
    pub max_item: u64,
    /// Most entries of the tar. Default 4 million: two for each of two million objects, whose index
    /// takes about 200 MiB.
    pub max_entries: u64,
    /// Most bytes of tar per compressed byte, looked at once 64 MiB have been decompressed. Default 400:
    /// objects compress 10 to 100 times, a bomb of zeros 1000 times.
    pub max_ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_total_uncompressed: 16 << 30,
            max_item: 64 << 20,
            max_entries: 4_000_000,
            max_ratio: 400,
        }
    }
}

impl Limits {
    /// Most bytes that the names of an index may take: 64 for each entry, far above what names are.
    pub(crate) fn max_names(&self) -> u64 {
        self.max_entries.saturating_mul(64).saturating_add(1 << 20)
    }
}

/// Decompressed bytes before [`Limits::max_ratio`] is looked at: small archives may be extreme.
pub(crate) const RATIO_GRACE: u64 = 64 << 20;
