//! The report as a picture: an SVG by hand, light or dark as its reader likes it.

use std::fmt::Write as _;

use super::report::{Attack, Idle, Report, Shape, Verdict};
use super::table::{duration, per_second, times};

/// Measures of the picture, in pixels.
const WIDTH: f64 = 980.0;
const MARGIN: f64 = 24.0;
const BARS_LEFT: f64 = 262.0;
const BARS_WIDTH: f64 = 358.0;
/// Where the columns of figures end.
const COLUMNS: [f64; 4] = [724.0, 808.0, 882.0, 956.0];
const ROW: f64 = 28.0;
const BAR: f64 = 14.0;
const HEAD: f64 = 146.0;
const PANEL_GAP: f64 = 64.0;
const AXIS: f64 = 22.0;
/// About as wide as a character of a bar's label.
const CHARACTER: f64 = 7.0;

const STYLE: &str = "
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2328}
.title{font-size:18px;font-weight:600}
.heading,.value{font-weight:600}
.note,.column,.axis{font-size:12px;fill:#59636e}
.figure{font-size:12px;font-variant-numeric:tabular-nums}
.column,.figure{text-anchor:end}
.axis{text-anchor:middle}
.page{fill:#fff}
.grid{stroke:#d8dee4}
.base{stroke:#59636e;stroke-width:1.5}
.met{fill:#2f7fd6}
.missed{fill:#d9822b}
.target,.spread{stroke:#1f2328;fill:none}
.target{stroke-width:2.5}
.spread{stroke-width:1.2}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}
.note,.column,.axis{fill:#9198a1}
.page{fill:#0d1117}
.grid{stroke:#30363d}
.base{stroke:#9198a1}
.met{fill:#3b82d0}
.missed{fill:#bf6d16}
.target,.spread{stroke:#f0f6fc}
}
";

/// One bar.
struct Row {
    title: String,
    value: Option<f64>,
    spread: Option<(f64, f64)>,
    target: f64,
    is_met: bool,
    /// Behind the bar.
    label: String,
    /// In the columns.
    figures: [String; 4],
}

/// Bars that share an axis.
struct Panel<'a> {
    heading: &'a str,
    columns: [&'a str; 4],
    /// The value of the strong line: as much as the rival, or all that is allowed.
    base: f64,
    /// The value at the right end.
    end: f64,
    step: f64,
    /// What stands under a grid line.
    tick: &'a dyn Fn(f64) -> String,
    rows: Vec<Row>,
}

/// The report as an SVG.
pub fn chart(report: &Report) -> String {
    let rival = report.shapes.first().map_or("nginx", |shape| shape.rival.name);
    let mut drawing = Drawing::default();
    drawing.heading(report, rival);
    let mut top = HEAD;
    let ratios: Vec<Row> = report.shapes.iter().map(ratio_row).collect();
    if !ratios.is_empty() {
        let columns = ["switchboard", rival, "p99", &format!("{rival} p99")];
        let tick = |at: f64| if at == 1.0 { format!("1x = {rival}") } else { format!("{at}x") };
        let heading = format!("Ratio to {rival} (more is better)");
        // Labels of smaller steps would run into each other.
        let step = if end_of(&ratios, 0.5) > 4.0 { 1.0 } else { 0.5 };
        let end = end_of(&ratios, step);
        top = drawing.panel(
            top,
            &Panel { heading: &heading, columns, base: 1.0, end, step, tick: &tick, rows: ratios },
        );
        top += PANEL_GAP;
    }
    let shares: Vec<Row> =
        report.idle.iter().filter_map(idle_row).chain(report.attacks.iter().filter_map(attack_row)).collect();
    if !shares.is_empty() {
        let columns = ["measured", "allowed", "p50", "p50 before"];
        let tick = |at: f64| format!("{:.0} %", at * 100.0);
        let heading = "Share of what is allowed (less is better)";
        // Something that is far beyond would make everything else invisible.
        let end = end_of(&shares, 0.25).min(2.0);
        top = drawing
            .panel(top, &Panel { heading, columns, base: 1.0, end, step: 0.25, tick: &tick, rows: shares });
        top += PANEL_GAP;
    }
    let height = top - PANEL_GAP + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Switchboard and {rival} side by side\">\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n{}</svg>\n",
        drawing.body
    )
}

/// A whole step beyond all that is drawn, with room for the label of the longest bar.
fn end_of(rows: &[Row], step: f64) -> f64 {
    let drawn = rows.iter().flat_map(|row| {
        [row.target, row.value.unwrap_or_default(), row.spread.map_or(0.0, |(_, highest)| highest)]
    });
    (drawn.fold(1.0, f64::max) * 1.15 / step).ceil() * step
}

fn ratio_row(shape: &Shape) -> Row {
    let comparison = shape.comparison();
    let label = match (comparison.ratio, comparison.verdict) {
        (Some(ratio), Verdict::TailWorse) => format!("{}, p99 worse", times(ratio)),
        (Some(ratio), _) => times(ratio),
        (None, _) => "no valid turn".to_owned(),
    };
    let both = [comparison.ours, comparison.rival];
    let [ours, rival] = both.map(|of| of.map(|of| per_second(of.per_second, shape.unit)).unwrap_or_default());
    let [our_p99, rival_p99] = both.map(|of| of.map(|of| duration(of.p99_us)).unwrap_or_default());
    Row {
        title: shape.title.clone(),
        value: comparison.ratio,
        spread: comparison.spread.map(|spread| (spread.lowest, spread.highest)),
        target: shape.target,
        is_met: comparison.verdict == Verdict::Met,
        label,
        figures: [ours, rival, our_p99, rival_p99],
    }
}

fn idle_row(idle: &Idle) -> Option<Row> {
    let limit = idle.limit_kib?;
    let each = idle.per_connection_kib();
    let figures = [format!("{each:.1} KiB"), format!("{limit:.0} KiB"), String::new(), String::new()];
    Some(share_row(format!("Memory, {} idle connections", idle.connections), each / limit, figures))
}

fn attack_row(attack: &Attack) -> Option<Row> {
    let ratio = attack.ratio()?;
    let figures =
        [times(ratio), times(attack.limit), duration(attack.during?.p50_us), duration(attack.before.p50_us)];
    Some(share_row(format!("A client's wait, {}", attack.title), ratio / attack.limit, figures))
}

fn share_row(title: String, share: f64, figures: [String; 4]) -> Row {
    let label = format!("{:.0} %", share * 100.0);
    Row { title, value: Some(share), spread: None, target: 1.0, is_met: share <= 1.0, label, figures }
}

/// The elements so far.
#[derive(Default)]
struct Drawing {
    body: String,
}

impl Drawing {
    fn heading(&mut self, report: &Report, rival: &str) {
        let machine = &report.machine;
        let versions: Vec<String> =
            report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let lines = [
            format!(
                "{}, {} cores, {:.0} GiB, Linux {}",
                machine.cpu, machine.cores, machine.memory_gib, machine.kernel
            ),
            format!("{}; {}", versions.join(", "), report.date),
            format!(
                "Medians of {} turns of {} s each, one after the other.",
                report.turns, report.seconds_per_turn
            ),
        ];
        self.text("title", MARGIN, 36.0, &format!("Switchboard and {rival}, side by side"));
        for (line, y) in lines.iter().zip([58.0, 75.0, 92.0]) {
            self.text("note", MARGIN, y, line);
        }
        self.legend(565.0, 36.0);
    }

    fn legend(&mut self, left: f64, baseline: f64) {
        let middle = baseline - 4.0;
        for (class, text, x) in [("met", "target met", left), ("missed", "missed", left + 96.0)] {
            self.bar(class, x, middle, 12.0);
            self.text("note", x + 18.0, baseline, text);
        }
        self.line("target", (left + 176.0, middle - 8.0), (left + 176.0, middle + 8.0));
        self.text("note", left + 184.0, baseline, "target");
        self.whisker(left + 238.0, left + 260.0, middle);
        self.text("note", left + 268.0, baseline, "all turns");
    }

    /// Draws a panel whose first row begins at `top`, and returns where its axis ends.
    fn panel(&mut self, top: f64, panel: &Panel<'_>) -> f64 {
        let x = |value: f64| BARS_LEFT + (value / panel.end).clamp(0.0, 1.0) * BARS_WIDTH;
        let bottom = top + ROW * panel.rows.len() as f64;
        self.text("heading", MARGIN, top - 12.0, panel.heading);
        for (column, right) in panel.columns.iter().zip(COLUMNS) {
            self.text("column", right, top - 12.0, column);
        }
        let mut at = 0.0;
        while at <= panel.end {
            self.line("grid", (x(at), top), (x(at), bottom));
            self.text("axis", x(at), bottom + 16.0, &(panel.tick)(at));
            at += panel.step;
        }
        for (row, place) in panel.rows.iter().zip(0_u16..) {
            let middle = top + ROW * (f64::from(place) + 0.5);
            self.row(row, middle, x);
        }
        self.line("base", (x(panel.base), top), (x(panel.base), bottom));
        bottom + AXIS
    }

    fn row(&mut self, row: &Row, middle: f64, x: impl Fn(f64) -> f64) {
        let baseline = middle + 4.5;
        self.text("row", MARGIN, baseline, &row.title);
        let end = x(row.value.unwrap_or_default());
        self.bar(if row.is_met { "met" } else { "missed" }, BARS_LEFT, middle, end - BARS_LEFT);
        let mut free = end.max(x(row.target));
        if let Some((lowest, highest)) = row.spread {
            self.whisker(x(lowest), x(highest), middle);
            free = free.max(x(highest));
        }
        self.line("target", (x(row.target), middle - 10.0), (x(row.target), middle + 10.0));
        // A long label of a long bar stands before the columns all the same.
        let first_column = COLUMNS[0] - 64.0;
        let width = row.label.chars().count() as f64 * CHARACTER;
        self.text("value", (free + 7.0).min(first_column - width), baseline, &row.label);
        for (figure, right) in row.figures.iter().zip(COLUMNS) {
            self.text("figure", right, baseline, figure);
        }
    }

    fn bar(&mut self, class: &str, x: f64, middle: f64, width: f64) {
        let y = middle - BAR / 2.0;
        self.element(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>"
        ));
    }

    fn whisker(&mut self, left: f64, right: f64, middle: f64) {
        let (above, below) = (middle - 4.0, middle + 4.0);
        self.element(&format!(
            "<path class=\"spread\" d=\"M{left:.1} {above:.1}V{below:.1}M{left:.1} {middle:.1}H{right:.1}M{right:.1} \
             {above:.1}V{below:.1}\"/>"
        ));
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.element(&format!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        // The name of a processor or a version may contain anything.
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.element(&format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    fn element(&mut self, element: &str) {
        // A string takes everything.
        let _ = writeln!(self.body, "{element}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, shape};
    use super::*;

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn each_shape_has_a_bar_a_target_and_a_whisker() {
        let shapes = vec![shape([160.0; 3], [100.0; 3], 90.0), shape([120.0; 3], [100.0; 3], 90.0)];
        let svg = chart(&report(shapes));
        // With those of the legend; memory and attack have no whisker.
        assert_eq!(count(&svg, "<rect class=\"met\""), 4);
        assert_eq!(count(&svg, "<rect class=\"missed\""), 2);
        assert_eq!(count(&svg, "<line class=\"target\""), 5);
        assert_eq!(count(&svg, "<path class=\"spread\""), 3);
        for text in [">1.60x<", ">1.20x<", ">50 %<", ">75 %<", ">12.0 KiB<", ">75 us<"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn a_bar_ends_where_its_value_is_on_the_axis() {
        let svg = chart(&report(vec![shape([150.0; 3], [100.0; 3], 90.0)]));
        // 1.5 of 2.0: three quarters of what there is.
        assert!(svg.contains(&format!("x=\"{BARS_LEFT:.1}\" y=\"153.0\" width=\"268.5\"")), "{svg}");
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let mut report = report(Vec::new());
        report.machine.cpu = "<script>A & B</script>".to_owned();
        let svg = chart(&report);
        assert!(svg.contains("&lt;script&gt;A &amp; B&lt;/script&gt;"));
        assert!(!svg.contains("<script>"));
    }

    #[test]
    fn a_shape_without_a_valid_turn_is_named_all_the_same() {
        let mut shape = shape([150.0; 3], [100.0; 3], 90.0);
        shape.ours.turns = vec![None; 3];
        let svg = chart(&report(vec![shape]));
        assert!(svg.contains(">no valid turn<"));
        assert!(!svg.contains("NaN"));
    }
}
