//! What the server counts, and how it is told to Prometheus (text format 0.0.4).

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a poller, or all sessions together, have done for the web. Each has cache lines of its own, so that pollers do not
/// slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WebCounts {
    /// Requests by the first digit of their status; the first entry is not used.
    pub(crate) requests: [AtomicU64; 6],
    /// Bytes of bodies.
    pub(crate) body_bytes: AtomicU64,
    /// Connections that were accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections that were turned away because there were too many.
    pub(crate) turned_away: AtomicU64,
    /// Connections that were ended because they had waited for too long.
    pub(crate) timed_out: AtomicU64,
    /// Times that a connection was handed to a session because its answer had to wait.
    pub(crate) waited: AtomicU64,
    /// Sessions at work at this moment.
    pub(crate) sessions: AtomicU64,
}

impl WebCounts {
    /// One answer.
    pub(crate) fn count_answer(&self, status: u16, body_bytes: u64) {
        if let Some(requests) = self.requests.get(usize::from(status / 100)) {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        self.body_bytes.fetch_add(body_bytes, Ordering::Relaxed);
    }
}

/// Sums what many threads have counted.
pub(crate) fn sum(counts: &[Arc<WebCounts>], of: impl Fn(&WebCounts) -> &AtomicU64) -> u64 {
    counts.iter().map(|counts| of(counts).load(Ordering::Relaxed)).sum()
}

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Adds a metric of which nothing but the last value counts.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, help, "gauge");
        self.sample(name, &[], value);
    }

    /// Adds a metric that only grows.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, help, "counter");
        self.sample(name, &[], value);
    }

    /// Begins a metric; its samples follow. `help` is one line.
    pub(crate) fn begin(&mut self, name: &str, help: &str, kind: &str) {
        // Writing into a String cannot fail, here and below.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds one value of the metric that was begun last.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(text));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_the_text_format() {
        let mut page = Page::default();
        page.counter("a_total", "How many.", 3);
        page.begin("b", "Two of them.", "gauge");
        page.sample("b", &[("site", "a\"\\\n"), ("kind", "x")], 1.5);
        assert_eq!(
            page.into_text(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Two of them.\n# TYPE b gauge\nb{site=\"a\\\"\\\\\\n\",kind=\"x\"} 1.5\n"
        );
    }

    #[test]
    fn threads_are_summed() {
        let counts = [Arc::new(WebCounts::default()), Arc::new(WebCounts::default())];
        counts[0].count_answer(200, 5);
        counts[1].count_answer(206, 7);
        counts[1].count_answer(404, 1);
        assert_eq!(sum(&counts, |counts| &counts.requests[2]), 2);
        assert_eq!(sum(&counts, |counts| &counts.requests[4]), 1);
        assert_eq!(sum(&counts, |counts| &counts.body_bytes), 13);
    }
}
