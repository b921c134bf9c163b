//! What a [`Cluster`] counts: requests by method and answer, and the state of its limiter.

use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::client::Cluster;
use crate::limiter::Limiter;

/// Label `code` of a request that got no answer.
const NO_ANSWER: &str = "none";

/// Requests by method and code of the answer. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Family<[(&'static str, String); 2], Counter>);

impl Requests {
    /// Counts one attempt; `None` when there was no answer.
    pub(crate) fn count(&self, method: &Method, code: Option<StatusCode>) {
        let code = code.map_or(NO_ANSWER.to_owned(), |code| code.as_str().to_owned());
        let labels = [("method", method.to_string()), ("code", code)];
        self.0.get_or_create(&labels).inc();
    }
}

impl Cluster {
    /// Registers what this cluster and its clones count:
    /// - `salvor_cluster_requests_total{method, code}`: attempts; `code` is `none` where no answer came;
    /// - `salvor_cluster_requests_in_flight`: calls that are under way, watches left out;
    /// - `salvor_cluster_request_limit`: calls that may be under way at once just now.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry.register(
            "salvor_cluster_requests",
            "Requests to the API server, by method and code of the answer; none where no answer came",
            self.requests().0.clone(),
        );
        registry.register_collector(Box::new(LimiterState(self.limiter().clone())));
    }
}

#[derive(Debug)]
struct LimiterState(Limiter);

impl Collector for LimiterState {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let figures = [
            (
                "salvor_cluster_requests_in_flight",
                "Requests to the API server that are under way, watches left out",
                self.0.running(),
            ),
            (
                "salvor_cluster_request_limit",
                "Requests to the API server that may be under way at once; it adapts to the server",
                self.0.limit(),
            ),
        ];
        for (name, help, figure) in figures {
            let gauge = ConstGauge::new(u64::try_from(figure).unwrap_or(u64::MAX));
            let described = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode(described)?;
        }
        Ok(())
    }
}
