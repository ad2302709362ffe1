//! The server's counters, and their export in the text format of Prometheus (version 0.0.4).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
pub(crate) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// A number that any thread can read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one poller, or of all sessions together. The alignment keeps them on cache lines that no other thread
/// writes to, so that pollers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WebCounts {
    /// Responses by the first digit of the status; entry 0 is unused. Counted when they begin.
    pub(crate) requests: [Count; 6],
    /// Bytes of response bodies that were sent. Counted when the response ends.
    pub(crate) body_bytes: Count,
    pub(crate) accepted: Count,
    pub(crate) turned_away: Count,
    pub(crate) timed_out: Count,
    /// How often a connection was handed to a session because its response had to wait.
    pub(crate) waited: Count,
    /// Sessions at work now.
    pub(crate) sessions: Count,
}

impl WebCounts {
    pub(crate) fn count_answer(&self, status: u16) {
        if let Some(requests) = self.requests.get(usize::from(status / 100)) {
            requests.add(1);
        }
    }
}

/// The sum of one counter over all threads.
pub(crate) fn sum(counts: &[Arc<WebCounts>], of: impl Fn(&WebCounts) -> &Count) -> u64 {
    counts.iter().map(|counts| of(counts).get()).sum()
}

/// The counters of the cache of one FileServer, which alone writes them.
#[derive(Debug, Default)]
pub(crate) struct CacheCounts {
    /// Requests to FileServer that the cache answered. What a session answers from a lease does not count.
    pub(crate) hits: Count,
    pub(crate) misses: Count,
    /// Leases that ended because of a change, or because compressed forms were ready.
    pub(crate) revocations: Count,
    pub(crate) evictions: Count,
    pub(crate) compressed: Count,
    pub(crate) entries: Count,
    pub(crate) bytes: Count,
}

/// A page of metrics in the text format.
pub(crate) struct Page<'a>(pub(crate) DescriptorEncoder<'a>);

impl Page<'_> {
    /// Adds one value. The name of a counter lacks the suffix `_total`, which the encoder adds.
    pub(crate) fn value(&mut self, kind: MetricType, name: &str, help: &str, value: u64) -> fmt::Result {
        encode_value(self.0.encode_descriptor(name, help, None, kind)?, kind, value)
    }

    /// Adds a metric with a sample for each value of one label.
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
            encode_value(metric.encode_family(&[(label, text)])?, kind, value)?;
        }
        Ok(())
    }
}

fn encode_value(encoder: MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(encoder),
        _ => ConstGauge::new(value).encode(encoder),
    }
}

pub(crate) fn page_text(collector: impl Collector) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use MetricType::{Counter, Gauge};

    use super::*;

    #[derive(Debug)]
    struct Example;

    impl Collector for Example {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut page = Page(encoder);
            page.value(Counter, "a", "How many.", 3)?;
            page.value(Gauge, "b", "Now.", u64::MAX)?;
            let samples = [("x\"\\\n", 1), ("y", 2)];
            page.by_label(Counter, "c", "Two of them.", "site", samples)?;
            page.by_label(Gauge, "d", "None.", "site", [])
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
            counts[thread].body_bytes.add(bytes);
        }
        assert_eq!(sum(&counts, |counts| &counts.requests[2]), 2);
        assert_eq!(sum(&counts, |counts| &counts.requests[4]), 1);
        assert_eq!(sum(&counts, |counts| &counts.body_bytes), 13);
    }
}
