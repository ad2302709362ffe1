//! The results of a run, and their comparison.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::statistics::{Spread, median, paired};

/// The results of one run of a suite. They are stored as JSON, from which the chart can be drawn again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub suite: String,
    /// The program that is compared.
    #[serde(default = "nginx")]
    pub rival: String,
    /// The start of the run.
    pub date: String,
    pub machine: Machine,
    /// The programs and their versions.
    pub versions: BTreeMap<String, String>,
    /// The number of turns of each contestant.
    pub turns: usize,
    pub seconds_per_turn: u64,
    pub shapes: Vec<Shape>,
    /// Memory of idle connections; ours first.
    pub idle: Vec<Idle>,
    pub attacks: Vec<Attack>,
    /// Loads without a rival.
    #[serde(default)]
    pub goals: Vec<Goal>,
    /// Figures that are no rates, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The parts that were not measured, and why.
    pub skipped: Vec<String>,
}

/// The rival in reports that do not name it.
fn nginx() -> String {
    "nginx".to_owned()
}

/// The machine of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub memory_gib: f64,
}

/// The unit of throughput of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Requests,
    Bytes,
}

/// One kind of load, which our server and a rival in several settings serve in turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Its name for `--only`.
    pub name: String,
    /// Its name in the report.
    pub title: String,
    pub unit: Unit,
    /// The minimum ratio; `None` if the shape is only informative.
    pub target: Option<f64>,
    /// Whether our p99 must not be worse than that of the rival.
    pub is_tail_counted: bool,
    pub ours: Contestant,
    /// The rival in each of its settings; the fastest one is compared.
    pub rivals: Vec<Contestant>,
}

/// A server in one setting, and its turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contestant {
    pub name: String,
    /// The turns in order; `None` for one with errors.
    pub turns: Vec<Option<Turn>>,
}

/// The figures of a turn without errors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub requests: u64,
    pub requests_per_second: f64,
    /// Including the heads of the responses.
    pub bytes_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of all processes of the server, in user and system mode, for each request.
    pub cpu_us_per_request: Option<f64>,
    /// The same of the servers that this server uses, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_beneath_us_per_request: Option<f64>,
}

/// The medians of a contestant's turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub cpu_us_per_request: Option<f64>,
    pub cpu_beneath_us_per_request: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    /// The ratio is below the target.
    TooSlow,
    /// The ratio is reached, but our p99 is worse.
    TailWorse,
    NoTarget,
    /// No turn was without errors.
    NotMeasured,
}

/// The comparison of the turns of a shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison<'a> {
    pub ours: Option<Figures>,
    /// The rival's figures in its fastest setting.
    pub rival: Option<Figures>,
    /// The name of that setting.
    pub setting: &'a str,
    /// Our median divided by the rival's.
    pub ratio: Option<f64>,
    /// The spread of the ratios of each turn.
    pub spread: Option<Spread>,
    pub verdict: Verdict,
}

impl Contestant {
    fn values(&self, value: impl Fn(&Turn) -> f64) -> Vec<Option<f64>> {
        self.turns.iter().map(|turn| turn.as_ref().map(&value)).collect()
    }

    fn per_second(&self, unit: Unit) -> Vec<Option<f64>> {
        self.values(|turn| match unit {
            Unit::Requests => turn.requests_per_second,
            Unit::Bytes => turn.bytes_per_second,
        })
    }

    fn figures(&self, unit: Unit) -> Option<Figures> {
        let middle = |values: Vec<Option<f64>>| median(&values.into_iter().flatten().collect::<Vec<_>>());
        let of_each = |value: fn(&Turn) -> Option<f64>| {
            middle(self.turns.iter().map(|turn| turn.as_ref().and_then(value)).collect())
        };
        Some(Figures {
            per_second: middle(self.per_second(unit))?,
            p50_us: middle(self.values(|turn| turn.p50_us))?,
            p99_us: middle(self.values(|turn| turn.p99_us))?,
            cpu_us_per_request: of_each(|turn| turn.cpu_us_per_request),
            cpu_beneath_us_per_request: of_each(|turn| turn.cpu_beneath_us_per_request),
        })
    }
}

impl Shape {
    /// Compares our turns with those of the rival's fastest setting.
    pub fn comparison(&self) -> Comparison<'_> {
        let settings = self.rivals.iter().map(|rival| (rival, rival.figures(self.unit)));
        let speed = |figures: &Option<Figures>| figures.map_or(0.0, |figures| figures.per_second);
        let best = settings.max_by(|(_, a), (_, b)| speed(a).total_cmp(&speed(b)));
        let (setting, rival) = best.map_or(("", None), |(rival, figures)| (rival.name.as_str(), figures));
        let theirs = best.map(|(rival, _)| rival.per_second(self.unit)).unwrap_or_default();
        let ratios = paired(&self.ours.per_second(self.unit), &theirs);
        let ours = self.ours.figures(self.unit);
        let both = ours.zip(rival).filter(|_| !ratios.is_empty());
        let ratio = both.map(|(ours, rival)| ours.per_second / rival.per_second);
        let verdict = match (both.zip(ratio), self.target) {
            (None, _) => Verdict::NotMeasured,
            (_, None) => Verdict::NoTarget,
            (Some((_, ratio)), Some(target)) if ratio < target => Verdict::TooSlow,
            (Some(((ours, rival), _)), _) if self.is_tail_counted && ours.p99_us > rival.p99_us => {
                Verdict::TailWorse
            }
            _ => Verdict::Met,
        };
        Comparison { ours, rival, setting, ratio, spread: Spread::of(&ratios), verdict }
    }
}

/// The memory of idle connections, each after one response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// The name of the server.
    pub server: String,
    pub connections: usize,
    /// Resident memory of all processes before the first connection.
    pub before_kib: u64,
    /// The same with all connections open.
    pub after_kib: u64,
    /// Threads of all processes with all connections open.
    pub threads: u64,
    /// The limit for a connection; `None` for a rival.
    pub limit_kib: Option<f64>,
}

impl Idle {
    pub fn per_connection_kib(&self) -> f64 {
        (self.after_kib as f64 - self.before_kib as f64) / self.connections.max(1) as f64
    }
}

/// A load that has no rival, with a goal in absolute figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Its name for `--only`.
    pub name: String,
    /// Its name in the report.
    pub title: String,
    pub bound: Bound,
    /// Of each turn.
    pub per_second: Vec<f64>,
    /// Of each turn; empty if it is not measured.
    pub p99_us: Vec<f64>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// At least so many per second.
    Rate(f64),
    /// A p99 of at most so many microseconds.
    Tail(f64),
}

impl Goal {
    /// The median rate.
    pub fn rate(&self) -> Option<f64> {
        median(&self.per_second)
    }

    /// The median p99 in microseconds.
    pub fn tail(&self) -> Option<f64> {
        median(&self.p99_us)
    }

    /// How much of what is allowed is used; more than 1 misses the goal.
    pub fn share(&self) -> Option<f64> {
        match self.bound {
            Bound::Rate(least) => self.rate().map(|rate| least / rate),
            Bound::Tail(most) => self.tail().map(|tail| tail / most),
        }
    }
}

/// The latency of a client.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub requests: usize,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// A client with one connection, before and during an attack on our server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    /// Its name for `--only`.
    pub name: String,
    /// Its name in the report.
    pub title: String,
    /// The largest number of connections of the attacker that was observed.
    pub connections: usize,
    pub before: Latency,
    /// `None` if the attack was over too early.
    pub during: Option<Latency>,
    /// The limit of [`Attack::ratio`].
    pub limit: f64,
}

impl Attack {
    /// The median during the attack divided by the median before.
    pub fn ratio(&self) -> Option<f64> {
        self.during.filter(|_| self.before.p50_us > 0.0).map(|during| during.p50_us / self.before.p50_us)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn turn(per_second: f64, p99_us: f64) -> Option<Turn> {
        Some(Turn {
            requests: 3000,
            requests_per_second: per_second,
            bytes_per_second: per_second * 1000.0,
            p50_us: p99_us / 2.0,
            p99_us,
            cpu_us_per_request: Some(p99_us / 10.0),
            cpu_beneath_us_per_request: None,
        })
    }

    fn contestant(name: &str, per_second: [f64; 3], p99_us: f64) -> Contestant {
        Contestant { name: name.to_owned(), turns: per_second.map(|value| turn(value, p99_us)).to_vec() }
    }

    pub(crate) fn shape(ours: [f64; 3], rival: [f64; 3], our_p99_us: f64) -> Shape {
        Shape {
            name: "keep-alive-16".to_owned(),
            title: "Small file, 16 connections".to_owned(),
            unit: Unit::Requests,
            target: Some(1.5),
            is_tail_counted: true,
            ours: contestant("switchboard", ours, our_p99_us),
            rivals: vec![contestant("slow", [1.0; 3], 1.0), contestant("sendfile", rival, 100.0)],
        }
    }

    pub(crate) fn report(shapes: Vec<Shape>) -> Report {
        let latency = |p50_us| Latency { requests: 1000, p50_us, p99_us: p50_us * 3.0 };
        Report {
            suite: "http".to_owned(),
            rival: "nginx".to_owned(),
            date: "Sat, 21 Nov 2026 00:29:58 GMT".to_owned(),
            machine: Machine { cpu: "A & B".to_owned(), cores: 2, kernel: "6.1".to_owned(), memory_gib: 8.0 },
            versions: BTreeMap::from([("nginx".to_owned(), "1.22.1".to_owned())]),
            turns: 3,
            seconds_per_turn: 1,
            shapes,
            idle: vec![Idle {
                server: "switchboard".to_owned(),
                connections: 10,
                before_kib: 1000,
                after_kib: 1120,
                threads: 12,
                limit_kib: Some(24.0),
            }],
            attacks: vec![Attack {
                name: "slow-read".to_owned(),
                title: "Slow reads".to_owned(),
                connections: 500,
                before: latency(50.0),
                during: Some(latency(75.0)),
                limit: 2.0,
            }],
            goals: vec![Goal {
                name: "whole-1".to_owned(),
                title: "One peer to another".to_owned(),
                bound: Bound::Rate(30_000.0),
                per_second: vec![20_000.0, 40_000.0, 25_000.0],
                p99_us: Vec::new(),
            }],
            notes: Vec::new(),
            skipped: Vec::new(),
        }
    }

    #[test]
    fn the_ratio_is_of_the_medians_and_the_spread_of_the_pairs() {
        let shape = shape([160.0, 200.0, 180.0], [100.0, 100.0, 120.0], 90.0);
        let comparison = shape.comparison();
        assert_eq!(comparison.ratio, Some(1.8));
        assert_eq!(comparison.spread, Some(Spread { lowest: 1.5, highest: 2.0 }));
        assert_eq!(comparison.verdict, Verdict::Met);
        let ours = Figures {
            per_second: 180.0,
            p50_us: 45.0,
            p99_us: 90.0,
            cpu_us_per_request: Some(9.0),
            cpu_beneath_us_per_request: None,
        };
        assert_eq!(comparison.ours, Some(ours));
    }

    #[test]
    fn the_fastest_setting_of_the_rival_counts() {
        let mut shape = shape([160.0; 3], [100.0; 3], 90.0);
        assert_eq!(shape.comparison().setting, "sendfile");
        shape.rivals.push(contestant("reuseport", [128.0; 3], 100.0));
        shape.rivals.push(Contestant { name: "fails".to_owned(), turns: vec![None; 3] });
        assert_eq!((shape.comparison().setting, shape.comparison().ratio), ("reuseport", Some(1.25)));
    }

    #[test]
    fn a_target_is_missed_by_the_ratio_or_by_the_tail() {
        let verdict = |ours, p99_us| shape([ours; 3], [100.0; 3], p99_us).comparison().verdict;
        assert_eq!(verdict(149.0, 90.0), Verdict::TooSlow);
        assert_eq!(verdict(150.0, 101.0), Verdict::TailWorse);
        assert_eq!(verdict(150.0, 100.0), Verdict::Met);
        let informative = Shape { target: None, ..shape([50.0; 3], [100.0; 3], 500.0) };
        assert_eq!(informative.comparison().verdict, Verdict::NoTarget);
    }

    #[test]
    fn a_shape_without_a_good_pair_is_not_measured() {
        let mut shape = shape([150.0; 3], [100.0; 3], 90.0);
        shape.ours.turns = vec![None, None, turn(150.0, 90.0)];
        shape.rivals = vec![Contestant {
            name: "sendfile".to_owned(),
            turns: vec![turn(100.0, 90.0), turn(100.0, 90.0), None],
        }];
        let comparison = shape.comparison();
        assert_eq!((comparison.ratio, comparison.verdict), (None, Verdict::NotMeasured));
        shape.rivals.clear();
        assert_eq!(shape.comparison().verdict, Verdict::NotMeasured);
    }

    #[test]
    fn bytes_are_compared_where_bytes_are_counted() {
        let mut shape = shape([150.0; 3], [100.0; 3], 90.0);
        shape.unit = Unit::Bytes;
        assert_eq!(shape.comparison().ours.map(|figures| figures.per_second), Some(150_000.0));
    }

    #[test]
    fn a_report_is_read_back_from_its_json() {
        let report = report(vec![shape([150.0; 3], [100.0; 3], 90.0)]);
        let json = serde_json::to_string_pretty(&report).expect("a report has a JSON form");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("it is read back"), report);
    }
}
