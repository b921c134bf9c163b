//! What passes between this server and the stores of its locations.

use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use salvor_storage::Meter;

use super::{by_location, lock};
use crate::locations::Locations;

/// The locations whose stores are counted, from the first term of leadership on. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Stores(Arc<Mutex<Option<Locations>>>);

impl Stores {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let stores = Self::default();
        registry.register_collector(Box::new(stores.clone()));
        stores
    }

    pub(super) fn set(&self, locations: &Locations) {
        *lock(&self.0) = Some(locations.clone());
    }
}

type Read = fn(&Meter) -> u64;

const FIGURES: [(&str, &str, Read); 3] = [
    (
        "salvor_store_requests",
        "Requests to the store of a location, repetitions too",
        Meter::requests,
    ),
    (
        "salvor_store_written_bytes",
        "Bytes sent to the store of a location",
        Meter::bytes_written,
    ),
    (
        "salvor_store_read_bytes",
        "Bytes read from the store of a location",
        Meter::bytes_read,
    ),
];

impl Collector for Stores {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let meters = lock(&self.0)
            .as_ref()
            .map(Locations::meters)
            .unwrap_or_default();
        for (name, help, read) in FIGURES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (location, meter) in &meters {
                let label = by_location(location);
                ConstCounter::new(read(meter)).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}
