//! What was measured, and what follows from it.

use serde::Serialize;
use serde_json::{Value, json};

use super::statistics::{Spread, median, paired};
use super::wrk::Turn;

/// Everything that one run of a suite has measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The suite.
    pub suite: &'static str,
    /// When it began.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
    /// The programs that took part, each with its version.
    pub versions: Vec<(&'static str, String)>,
    /// How many turns each contestant has had.
    pub turns: usize,
    /// How long each turn was.
    pub seconds_per_turn: u64,
    /// What was measured against a rival.
    pub shapes: Vec<Shape>,
    /// Memory of idle connections; ours first.
    pub idle: Vec<Idle>,
    /// A client while somebody attacks.
    pub attacks: Vec<Attack>,
    /// What was not measured, and why.
    pub skipped: Vec<String>,
}

/// Where a measurement ran.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The model of its processor.
    pub cpu: String,
    /// How many cores it has.
    pub cores: usize,
    /// The release of its kernel.
    pub kernel: String,
    /// Its memory in GiB.
    pub memory_gib: f64,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests in a second.
    Requests,
    /// Bytes in a second.
    Bytes,
}

/// One kind of work, done in turns by us and a rival.
#[derive(Debug, Clone, Serialize)]
pub struct Shape {
    /// What `--only` calls it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// What is counted.
    pub unit: Unit,
    /// The ratio that we want to reach.
    pub target: f64,
    /// Whether our p99 must not be worse either.
    pub is_tail_counted: bool,
    /// We.
    pub ours: Contestant,
    /// Who we are compared with.
    pub rival: Contestant,
    /// Who ran with us for information only.
    pub other: Option<Contestant>,
}

/// One of those that took turns.
#[derive(Debug, Clone, Serialize)]
pub struct Contestant {
    /// Its name.
    pub name: &'static str,
    /// Its turns in their order; `None` for one that did not count.
    pub turns: Vec<Option<Turn>>,
}

/// A contestant's figures over all turns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// The median of what it did in a second.
    pub per_second: f64,
    /// The median of its p99, in microseconds.
    pub p99_us: f64,
}

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Met,
    /// The ratio is lower.
    TooSlow,
    /// The ratio is reached, but our p99 is worse.
    TailWorse,
    /// No turn counted.
    NotMeasured,
}

/// What follows from the turns of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Our figures.
    pub ours: Option<Figures>,
    /// The rival's.
    pub rival: Option<Figures>,
    /// Of the one that ran for information.
    pub other: Option<Figures>,
    /// Our median through the rival's.
    pub ratio: Option<f64>,
    /// Of the ratios turn by turn.
    pub spread: Option<Spread>,
    /// Whether the target is met.
    pub verdict: Verdict,
}

impl Contestant {
    fn values(&self, value: impl Fn(&Turn) -> f64) -> Vec<Option<f64>> {
        self.turns.iter().map(|turn| turn.as_ref().map(&value)).collect()
    }

    fn figures(&self, unit: Unit) -> Option<Figures> {
        let middle = |values: Vec<Option<f64>>| median(&values.into_iter().flatten().collect::<Vec<_>>());
        let per_second = middle(self.values(|turn| turn.per_second(unit)))?;
        Some(Figures { per_second, p99_us: middle(self.values(|turn| turn.p99_us))? })
    }
}

impl Turn {
    /// What was done in a second.
    pub fn per_second(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Requests => self.requests_per_second,
            Unit::Bytes => self.bytes_per_second,
        }
    }
}

impl Shape {
    /// What follows from its turns.
    pub fn comparison(&self) -> Comparison {
        let per_second = |who: &Contestant| who.values(|turn| turn.per_second(self.unit));
        let ratios = paired(&per_second(&self.ours), &per_second(&self.rival));
        let (ours, rival) = (self.ours.figures(self.unit), self.rival.figures(self.unit));
        let both = ours.zip(rival).filter(|_| !ratios.is_empty());
        let ratio = both.map(|(ours, rival)| ours.per_second / rival.per_second);
        let verdict = match (both, ratio) {
            (Some((ours, rival)), Some(ratio)) => {
                if ratio < self.target {
                    Verdict::TooSlow
                } else if self.is_tail_counted && ours.p99_us > rival.p99_us {
                    Verdict::TailWorse
                } else {
                    Verdict::Met
                }
            }
            _ => Verdict::NotMeasured,
        };
        let other = self.other.as_ref().and_then(|other| other.figures(self.unit));
        Comparison { ours, rival, other, ratio, spread: Spread::of(&ratios), verdict }
    }
}

/// Connections that have had their answer and now wait.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// Whose memory it is.
    pub server: &'static str,
    /// How many were open.
    pub connections: usize,
    /// Resident memory before the first, in KiB, of all its processes.
    pub before_kib: u64,
    /// Resident memory with all of them open, in KiB.
    pub after_kib: u64,
    /// Threads of all its processes with all of them open.
    pub threads: u64,
    /// What a connection may take, in KiB; nothing for a rival.
    pub limit_kib: Option<f64>,
}

impl Idle {
    /// Resident memory for each connection, in KiB.
    pub fn per_connection_kib(&self) -> f64 {
        (self.after_kib as f64 - self.before_kib as f64) / self.connections.max(1) as f64
    }
}

/// How long a client's requests took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many requests.
    pub requests: usize,
    /// Half of them took at most this.
    pub p50_us: f64,
    /// 99 of 100 took at most this.
    pub p99_us: f64,
}

/// A client with one connection, before and during an attack.
#[derive(Debug, Clone, Serialize)]
pub struct Attack {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// How many of the attacker's connections the server had at most, looked at from time to time.
    pub connections: usize,
    /// Before.
    pub before: Latency,
    /// During; `None` when the attack was over too soon.
    pub during: Option<Latency>,
    /// How many times longer the median may get.
    pub limit: f64,
}

impl Attack {
    /// How many times longer the median has got.
    pub fn ratio(&self) -> Option<f64> {
        self.during.filter(|_| self.before.p50_us > 0.0).map(|during| during.p50_us / self.before.p50_us)
    }
}

impl Report {
    /// The report with what follows from it.
    ///
    /// # Panics
    /// Never: it consists of numbers, strings and lists.
    pub fn to_json(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("a report is numbers, strings and lists");
        for (shape, place) in self.shapes.iter().zip(0..) {
            value["shapes"][place]["comparison"] = json!(shape.comparison());
        }
        for (idle, place) in self.idle.iter().zip(0..) {
            value["idle"][place]["per_connection_kib"] = json!(idle.per_connection_kib());
        }
        for (attack, place) in self.attacks.iter().zip(0..) {
            value["attacks"][place]["ratio"] = json!(attack.ratio());
        }
        value["versions"] = self.versions.iter().map(|(name, version)| (*name, version.as_str())).collect();
        value
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn turn(per_second: f64, p99_us: f64) -> Option<Turn> {
        Some(Turn {
            requests_per_second: per_second,
            bytes_per_second: per_second * 1000.0,
            p50_us: p99_us / 2.0,
            p99_us,
        })
    }

    pub(crate) fn shape(ours: [f64; 3], rival: [f64; 3], our_p99_us: f64) -> Shape {
        let turns = |values: [f64; 3], p99_us| values.map(|value| turn(value, p99_us)).to_vec();
        Shape {
            name: "keep-alive-16".to_owned(),
            title: "Small file, 16 connections".to_owned(),
            unit: Unit::Requests,
            target: 1.5,
            is_tail_counted: true,
            ours: Contestant { name: "switchboard", turns: turns(ours, our_p99_us) },
            rival: Contestant { name: "nginx", turns: turns(rival, 100.0) },
            other: None,
        }
    }

    pub(crate) fn report(shapes: Vec<Shape>) -> Report {
        let latency = |p50_us| Latency { requests: 1000, p50_us, p99_us: p50_us * 3.0 };
        Report {
            suite: "http",
            date: "Sat, 21 Nov 2026 00:29:58 GMT".to_owned(),
            machine: Machine { cpu: "A & B".to_owned(), cores: 2, kernel: "6.1".to_owned(), memory_gib: 8.0 },
            versions: vec![("nginx", "1.22.1".to_owned())],
            turns: 3,
            seconds_per_turn: 1,
            shapes,
            idle: vec![Idle {
                server: "switchboard",
                connections: 10,
                before_kib: 1000,
                after_kib: 1120,
                threads: 12,
                limit_kib: Some(24.0),
            }],
            attacks: vec![Attack {
                name: "slow-read",
                title: "Slow reads",
                connections: 500,
                before: latency(50.0),
                during: Some(latency(75.0)),
                limit: 2.0,
            }],
            skipped: Vec::new(),
        }
    }

    #[test]
    fn the_ratio_is_of_the_medians_and_the_spread_of_the_pairs() {
        let comparison = shape([160.0, 200.0, 180.0], [100.0, 100.0, 120.0], 90.0).comparison();
        assert_eq!(comparison.ratio, Some(1.8));
        assert_eq!(comparison.spread, Some(Spread { lowest: 1.5, highest: 2.0 }));
        assert_eq!(comparison.verdict, Verdict::Met);
        assert_eq!(comparison.ours, Some(Figures { per_second: 180.0, p99_us: 90.0 }));
    }

    #[test]
    fn a_target_is_missed_by_the_ratio_or_by_the_tail() {
        let verdict = |ours, p99_us| shape([ours; 3], [100.0; 3], p99_us).comparison().verdict;
        assert_eq!(verdict(149.0, 90.0), Verdict::TooSlow);
        assert_eq!(verdict(150.0, 101.0), Verdict::TailWorse);
        assert_eq!(verdict(150.0, 100.0), Verdict::Met);
    }

    #[test]
    fn a_shape_without_a_good_pair_is_not_measured() {
        let mut shape = shape([150.0; 3], [100.0; 3], 90.0);
        shape.ours.turns = vec![None, None, turn(150.0, 90.0)];
        shape.rival.turns = vec![turn(100.0, 90.0), turn(100.0, 90.0), None];
        let comparison = shape.comparison();
        assert_eq!((comparison.ratio, comparison.verdict), (None, Verdict::NotMeasured));
    }

    #[test]
    fn bytes_are_compared_where_bytes_are_counted() {
        let mut shape = shape([150.0; 3], [100.0; 3], 90.0);
        shape.unit = Unit::Bytes;
        assert_eq!(shape.comparison().ours.map(|figures| figures.per_second), Some(150_000.0));
    }

    #[test]
    fn the_json_has_the_turns_and_what_follows_from_them() {
        let json = report(vec![shape([150.0; 3], [100.0; 3], 90.0)]).to_json();
        assert_eq!(json["shapes"][0]["comparison"]["verdict"], "met");
        assert_eq!(json["shapes"][0]["rival"]["turns"][2]["p99_us"], 100.0);
        assert_eq!(json["idle"][0]["per_connection_kib"], 12.0);
        assert_eq!(json["attacks"][0]["ratio"], 1.5);
        assert_eq!(json["versions"]["nginx"], "1.22.1");
    }
}
