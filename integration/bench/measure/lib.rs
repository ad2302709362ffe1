//! The pure part of the benchmarks, which has tests: parsing the output of wrk, medians and ratios, and the
//! report as a table, as JSON and as a chart.

mod chart;
mod report;
mod statistics;
mod table;
mod wrk;

pub use chart::chart;
pub use report::{
    Attack, Bound, Comparison, Contestant, Figures, Goal, Idle, Latency, Machine, Report, Shape, Turn, Unit,
    Verdict,
};
pub use statistics::{Spread, median, percentile};
pub use table::{per_second, table};
pub use wrk::{Invalid, SAY_RESULT, parse};
