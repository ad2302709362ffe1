//! Virtual time: events in the order of their times, and of their making where times are equal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use switchboard::peer::engine::Now;

/// When every simulation starts, in seconds since 1970.
const START_UNIX: u64 = 1_700_000_000;

/// The events that are still to come.
pub(crate) struct Schedule<E> {
    start: Instant,
    now: Duration,
    made: u64,
    events: BTreeMap<(Duration, u64), E>,
}

impl<E> Schedule<E> {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), now: Duration::ZERO, made: 0, events: BTreeMap::new() }
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now
    }

    pub(crate) fn now(&self) -> Now {
        Now { unix: START_UNIX + self.now.as_secs(), instant: self.start + self.now }
    }

    pub(crate) fn after(&mut self, wait: Duration, event: E) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn at(&mut self, time: Duration, event: E) {
        self.events.insert((time.max(self.now), self.made), event);
        self.made += 1;
    }

    /// The time at which an instant lies.
    pub(crate) fn time_of(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.start)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The next event. Time passes until then.
    pub(crate) fn next(&mut self) -> Option<E> {
        let ((time, _), event) = self.events.pop_first()?;
        // After a sleep, events are late.
        self.now = self.now.max(time);
        Some(event)
    }

    /// Lets time pass without anything happening, as if the machine had slept.
    pub(crate) fn sleep(&mut self, duration: Duration) {
        self.now += duration;
    }
}
