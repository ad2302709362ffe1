//! What the measurements in `bench/` have in common and what needs no clock and no process: reading what wrk says,
//! medians and ratios, and the report as a table, as JSON and as a chart.

mod chart;
mod report;
mod statistics;
mod table;
mod wrk;

pub use chart::chart;
pub use report::{
    Attack, Comparison, Contestant, Figures, Idle, Latency, Machine, Report, Shape, Unit, Verdict,
};
pub use statistics::{Spread, median, paired, percentile};
pub use table::{per_second, table};
pub use wrk::{Invalid, SAY_RESULT, Turn, parse};
