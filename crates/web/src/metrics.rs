//! Metrics in the text format that Prometheus reads.
//!
//! Any crate counts through the `metrics` facade; the binary installs the recorder once and serves what it collected.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Where durations are cut, in seconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 4.0, 16.0];

/// The recorder could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder could not be installed")]
pub struct MetricsError(#[source] metrics_exporter_prometheus::BuildError);

/// Everything counted in this process.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of this process; works once.
    pub fn install() -> Result<Self, MetricsError> {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .map(Self)
            .map_err(MetricsError)
    }

    /// The current figures as text.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves collected samples into their buckets; wants to be called every few seconds.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Says what this crate counts.
pub fn describe_metrics() {
    metrics::describe_counter!("mana_http_requests_total", "HTTP requests by method, route and status");
    metrics::describe_histogram!("mana_http_request_duration_seconds", "Time to answer an HTTP request by route");
}
