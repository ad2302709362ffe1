//! The report as a text table.

use super::report::{Attack, Bound, Figures, Goal, Idle, Report, Shape, Unit, Verdict};
use super::statistics::Spread;

/// The report as aligned lines.
pub fn table(report: &Report) -> String {
    let mut text = format!(
        "{}: {} turns of {} s each, one after the other\n{}\n",
        report.suite,
        report.turns,
        report.seconds_per_turn,
        provenance(report)
    );
    if !report.shapes.is_empty() {
        let rival = &report.rival;
        let of_rival = ["p50", "p99", "cpu", "at its best with"].map(|what| format!("{rival} {what}"));
        let [p50, p99, cpu, setting] = of_rival.each_ref().map(String::as_str);
        let heading = [
            "",
            "switchboard",
            rival,
            "ratio",
            "spread",
            "target",
            "",
            "p50",
            p50,
            "p99",
            p99,
            "cpu",
            cpu,
            setting,
        ];
        add(&mut text, heading, report.shapes.iter().map(shape_cells).collect());
        text.push_str("(cpu: processor time of all processes of the server for each request");
        let figures = report.shapes.iter().filter_map(|shape| shape.comparison().ours);
        if figures.filter_map(|ours| ours.cpu_beneath_us_per_request).next().is_some() {
            text.push_str(&format!(" + that of the {rival} which it uses"));
        }
        text.push_str(")\n");
    }
    if !report.idle.is_empty() {
        let heading =
            ["memory of an idle connection", "each", "limit", "", "open", "before", "after", "threads"];
        add(&mut text, heading, report.idle.iter().map(idle_cells).collect());
    }
    if !report.attacks.is_empty() {
        let heading = [
            "a client during an attack",
            "p50",
            "before",
            "ratio",
            "limit",
            "",
            "p99",
            "before",
            "attackers",
        ];
        add(&mut text, heading, report.attacks.iter().map(attack_cells).collect());
    }
    if !report.goals.is_empty() {
        let heading = ["without a rival", "median", "spread", "p99", "goal", ""];
        add(&mut text, heading, report.goals.iter().map(goal_cells).collect());
    }
    for note in &report.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    for skipped in &report.skipped {
        text.push_str(&format!("\nnot measured: {skipped}\n"));
    }
    text
}

/// The machine, the programs and the date, in one line.
fn provenance(report: &Report) -> String {
    format!("{}; {}; {}", machine(report), versions(report), report.date)
}

pub(super) fn machine(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "{}, {} cores, {:.0} GiB, Linux {}",
        machine.cpu, machine.cores, machine.memory_gib, machine.kernel
    )
}

pub(super) fn versions(report: &Report) -> String {
    let versions: Vec<String> =
        report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    versions.join(", ")
}

/// `142,310/s` or `2.31 GB/s`.
pub fn per_second(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Requests => format!("{}/s", grouped(value)),
        Unit::Bytes => format!("{:.2} GB/s", value / 1e9),
    }
}

/// `8.4 us`, `999 us`, `1.25 ms` or `372 ms`.
pub(super) fn duration(us: f64) -> String {
    match us {
        ..100.0 => format!("{us:.1} us"),
        ..1000.0 => format!("{us:.0} us"),
        ..100_000.0 => format!("{:.2} ms", us / 1000.0),
        _ => format!("{:.0} ms", us / 1000.0),
    }
}

/// A whole number with a comma between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::TooSlow => "missed",
        Verdict::TailWorse => "p99 worse",
        Verdict::NoTarget => "",
        Verdict::NotMeasured => "invalid",
    }
}

fn shape_cells(shape: &Shape) -> Vec<String> {
    let comparison = shape.comparison();
    let figure = |figures: Option<Figures>| cell(figures.map(|of| per_second(of.per_second, shape.unit)));
    let middle = |figures: Option<Figures>| cell(figures.map(|of| duration(of.p50_us)));
    let tail = |figures: Option<Figures>| cell(figures.map(|of| duration(of.p99_us)));
    let cpu = |figures: Option<Figures>| {
        let times = figures.into_iter().flat_map(|of| [of.cpu_us_per_request, of.cpu_beneath_us_per_request]);
        let times: Vec<String> = times.flatten().map(duration).collect();
        cell(Some(times.join(" + ")).filter(|text| !text.is_empty()))
    };
    let spread = comparison.spread.map(|spread| format!("{:.2}..{:.2}", spread.lowest, spread.highest));
    vec![
        shape.title.clone(),
        figure(comparison.ours),
        figure(comparison.rival),
        cell(comparison.ratio.map(times)),
        cell(spread),
        cell(shape.target.map(|target| format!("{target:.1}x"))),
        word(comparison.verdict).to_owned(),
        middle(comparison.ours),
        middle(comparison.rival),
        tail(comparison.ours),
        tail(comparison.rival),
        cpu(comparison.ours),
        cpu(comparison.rival),
        comparison.setting.to_owned(),
    ]
}

fn idle_cells(idle: &Idle) -> Vec<String> {
    let each = idle.per_connection_kib();
    let limit = idle.limit_kib;
    vec![
        idle.server.clone(),
        format!("{each:.1} KiB"),
        limit.map(|limit| format!("{limit:.0} KiB")).unwrap_or_default(),
        limit.map(|limit| within(each <= limit)).unwrap_or_default(),
        grouped(idle.connections as f64),
        format!("{} KiB", grouped(idle.before_kib as f64)),
        format!("{} KiB", grouped(idle.after_kib as f64)),
        grouped(idle.threads as f64),
    ]
}

fn attack_cells(attack: &Attack) -> Vec<String> {
    let ratio = attack.ratio();
    vec![
        attack.title.clone(),
        cell(attack.during.map(|during| duration(during.p50_us))),
        duration(attack.before.p50_us),
        cell(ratio.map(times)),
        format!("{:.1}x", attack.limit),
        ratio.map_or_else(|| "over too soon".to_owned(), |ratio| within(ratio <= attack.limit)),
        cell(attack.during.map(|during| duration(during.p99_us))),
        duration(attack.before.p99_us),
        attack.connections.to_string(),
    ]
}

fn goal_cells(goal: &Goal) -> Vec<String> {
    let rate = |rate| per_second(rate, Unit::Requests);
    let spread = Spread::of(&goal.per_second);
    vec![
        goal.title.clone(),
        cell(goal.rate().map(rate)),
        cell(spread.map(|spread| format!("{}..{}", rate(spread.lowest), rate(spread.highest)))),
        cell(goal.tail().map(duration)),
        bound(goal.bound),
        goal.share().map(|share| within(share <= 1.0)).unwrap_or_default(),
    ]
}

/// `30,000/s` or `p99 50.0 ms`.
pub(super) fn bound(bound: Bound) -> String {
    match bound {
        Bound::Rate(least) => per_second(least, Unit::Requests),
        Bound::Tail(most) => format!("p99 {}", duration(most)),
    }
}

fn within(is_within: bool) -> String {
    word(if is_within { Verdict::Met } else { Verdict::TooSlow }).to_owned()
}

/// A ratio with two decimals.
pub(super) fn times(ratio: f64) -> String {
    format!("{ratio:.2}x")
}

fn cell(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// Adds an empty line, the heading and the rows. The first column is aligned to the left, the others to the right.
fn add<const COLUMNS: usize>(text: &mut String, heading: [&str; COLUMNS], mut rows: Vec<Vec<String>>) {
    rows.insert(0, heading.map(str::to_owned).to_vec());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    text.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            if column == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else if width > 0 {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, shape};
    use super::*;

    #[test]
    fn figures_are_for_people() {
        assert_eq!(grouped(0.0), "0");
        assert_eq!(grouped(999.6), "1,000");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(per_second(2.314e9, Unit::Bytes), "2.31 GB/s");
        assert_eq!(duration(8.44), "8.4 us");
        assert_eq!(duration(999.0), "999 us");
        assert_eq!(duration(1250.0), "1.25 ms");
        assert_eq!(duration(371_540.0), "372 ms");
    }

    #[test]
    fn the_table_is_aligned_and_says_what_is_missed() {
        let mut report =
            report(vec![shape([150.0; 3], [100.0; 3], 90.0), shape([50.0; 3], [100_000.0; 3], 90.0)]);
        report.notes.push("a figure".to_owned());
        report.skipped.push("message".to_owned());
        let expected = "\
http: 3 turns of 1 s each, one after the other
A & B, 2 cores, 8 GiB, Linux 6.1; nginx 1.22.1; Sat, 21 Nov 2026 00:29:58 GMT

                            switchboard      nginx  ratio      spread  target              p50  nginx p50      p99  nginx p99     cpu  nginx cpu  nginx at its best with
Small file, 16 connections        150/s      100/s  1.50x  1.50..1.50    1.5x     met  45.0 us    50.0 us  90.0 us     100 us  9.0 us    10.0 us                sendfile
Small file, 16 connections         50/s  100,000/s  0.00x  0.00..0.00    1.5x  missed  45.0 us    50.0 us  90.0 us     100 us  9.0 us    10.0 us                sendfile
(cpu: processor time of all processes of the server for each request)

memory of an idle connection      each   limit       open     before      after  threads
switchboard                   12.0 KiB  24 KiB  met    10  1,000 KiB  1,120 KiB       12

a client during an attack      p50   before  ratio  limit          p99  before  attackers
Slow reads                 75.0 us  50.0 us  1.50x   2.0x  met  225 us  150 us        500

without a rival        median              spread  p99      goal
One peer to another  25,000/s  20,000/s..40,000/s    -  30,000/s  missed

a figure

not measured: message
";
        assert_eq!(table(&report), expected);
    }
}
