//! The server's counters, and their export in the text format of Prometheus (version 0.0.4).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
pub(crate) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The counters of one poller, or of all sessions together. The alignment keeps them on cache lines that no other thread
/// writes to, so that pollers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WebCounts {
    /// Requests by the first digit of the status; entry 0 is unused.
    pub(crate) requests: [AtomicU64; 6],
    /// Bytes of response bodies.
    pub(crate) body_bytes: AtomicU64,
    /// Accepted connections.
    pub(crate) accepted: AtomicU64,
    /// Connections refused because there were too many.
    pub(crate) turned_away: AtomicU64,
    /// Connections closed by a timeout.
    pub(crate) timed_out: AtomicU64,
    /// How often a connection was handed to a session because its answer had to wait.
    pub(crate) waited: AtomicU64,
    /// Sessions at work now.
    pub(crate) sessions: AtomicU64,
}

impl WebCounts {
    /// Counts one response, when it begins.
    pub(crate) fn count_answer(&self, status: u16) {
        if let Some(requests) = self.requests.get(usize::from(status / 100)) {
            requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the bytes of a body that were sent, when it ends.
    pub(crate) fn count_body(&self, bytes: u64) {
        self.body_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The sum of one counter over all threads.
pub(crate) fn sum(counts: &[Arc<WebCounts>], of: impl Fn(&WebCounts) -> &AtomicU64) -> u64 {
    counts.iter().map(|counts| of(counts).load(Ordering::Relaxed)).sum()
}

/// A page of metrics in the text format.
pub(crate) struct Page<'a>(pub(crate) DescriptorEncoder<'a>);

impl Page<'_> {
    /// Adds a value that goes up and down.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    /// Adds a value that only grows. `name` lacks the suffix `_total`, which the encoder adds.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    /// Adds a metric with a sample for each value of one label. `name` is as for [`Page::counter`].
    pub(crate) fn by_label<'l>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (text, value) in samples {
            let labels = [(label, text)];
            let sample = metric.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(sample)?,
                _ => ConstGauge::new(value).encode(sample)?,
            }
        }
        Ok(())
    }
}

/// The page that a collector fills.
pub(crate) fn page_text(collector: impl Collector) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut text = String::new();
    // Only the writer can fail, and a String takes everything.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Example;

    impl Collector for Example {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut page = Page(encoder);
            page.counter("a", "How many.", 3)?;
            page.gauge("b", "Now.", u64::MAX)?;
            let samples = [("x\"\\\n", 1), ("y", 2)];
            page.by_label(MetricType::Counter, "c", "Two of them.", "site", samples)?;
            page.by_label(MetricType::Gauge, "d", "None.", "site", [])
        }
    }

    #[test]
    fn a_page_is_in_the_text_format() {
        assert_eq!(
            page_text(Example),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Now.\n# TYPE b gauge\nb 18446744073709551615\n\
             # HELP c_total Two of them.\n# TYPE c_total counter\n\
             c_total{site=\"x\\\"\\\\\\n\"} 1\nc_total{site=\"y\"} 2\n\
             # HELP d None.\n# TYPE d gauge\n"
        );
    }

    #[test]
    fn threads_are_summed() {
        let counts = [Arc::new(WebCounts::default()), Arc::new(WebCounts::default())];
        for (thread, status, bytes) in [(0, 200, 5), (1, 206, 7), (1, 404, 1)] {
            counts[thread].count_answer(status);
            counts[thread].count_body(bytes);
        }
        assert_eq!(sum(&counts, |counts| &counts.requests[2]), 2);
        assert_eq!(sum(&counts, |counts| &counts.requests[4]), 1);
        assert_eq!(sum(&counts, |counts| &counts.body_bytes), 13);
    }
}
