//! The report as an SVG chart, with a light and a dark colour scheme.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::{Attack, Bound, Figures, Goal, Idle, Report, Shape, Unit, Verdict};
use super::table::{bound, duration, machine, per_second, times, versions};

// All measures are pixels.
const WIDTH: i32 = 1080;
const MARGIN: i32 = 24;
const BARS_LEFT: i32 = 290;
const BARS_WIDTH: i32 = 350;
/// The right edges of the columns of figures.
const COLUMNS: [i32; 6] = [732, 814, 878, 940, 998, 1056];
const COLUMNS_LEFT: i32 = 664;
const ROW: i32 = 28;
const BAR: i32 = 14;
/// Height of the title and the lines below it.
const HEAD: i32 = 146;
const PANEL_GAP: i32 = 64;
const AXIS: i32 = 22;
/// Approximate width of a character in the label of a bar.
const CHARACTER: i32 = 8;

const FONT: &str = "system-ui, -apple-system, sans-serif";
const TEXT: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const NOTE: RGBColor = RGBColor(0x59, 0x63, 0x6e);
const PAGE: RGBColor = RGBColor(0xff, 0xff, 0xff);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
const MET: RGBColor = RGBColor(0x2f, 0x7f, 0xd6);
const MISSED: RGBColor = RGBColor(0xd9, 0x82, 0x2b);
const INFORMATIVE: RGBColor = RGBColor(0x8c, 0x95, 0x9f);
/// Each colour and its counterpart in the dark scheme.
const DARK: [(RGBColor, &str); 7] = [
    (TEXT, "#f0f6fc"),
    (NOTE, "#9198a1"),
    (PAGE, "#0d1117"),
    (GRID, "#30363d"),
    (MET, "#3b82d0"),
    (MISSED, "#bf6d16"),
    (INFORMATIVE, "#6e7681"),
];

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One bar.
struct Row {
    title: String,
    value: Option<f64>,
    spread: Option<(f64, f64)>,
    target: Option<f64>,
    color: RGBColor,
    /// The text beside the bar.
    label: String,
    /// The texts in the columns, from the left.
    figures: Vec<String>,
}

/// Bars with a common axis.
struct Panel<'a> {
    heading: String,
    columns: Vec<&'a str>,
    /// The value at the right end of the axis.
    end: f64,
    tick: fn(f64) -> String,
    rows: Vec<Row>,
}

/// The report as an SVG.
///
/// # Errors
/// An error of the library; it has none when it writes to a string.
pub fn chart(report: &Report) -> Result<String> {
    let panels = panels(report);
    let heights = panels.iter().map(|panel| panel.height() + PANEL_GAP).sum::<i32>();
    let size = (WIDTH.unsigned_abs(), (HEAD + heights - PANEL_GAP + MARGIN).unsigned_abs());
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        canvas.fill(&PAGE)?;
        draw_head(&canvas, report)?;
        let mut top = HEAD;
        for panel in &panels {
            panel.draw(&canvas, top)?;
            top += panel.height() + PANEL_GAP;
        }
        canvas.present()?;
    }
    Ok(with_dark_colors(&svg, report))
}

/// The library writes colours as attributes; a style sheet has precedence over these.
fn with_dark_colors(svg: &str, report: &Report) -> String {
    let rules: String = DARK
        .iter()
        .map(|(RGBColor(red, green, blue), dark)| {
            let light = format!("#{red:02X}{green:02X}{blue:02X}");
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}\n")
        })
        .collect();
    let style = format!("<style>\n@media (prefers-color-scheme:dark){{\n{rules}}}\n</style>\n");
    let label = format!("<svg role=\"img\" aria-label=\"Switchboard and {} side by side\" ", report.rival);
    svg.replacen("<svg ", &label, 1).replacen(">\n", &format!(">\n{style}"), 1)
}

fn panels(report: &Report) -> Vec<Panel<'_>> {
    let rival = report.rival.as_str();
    let ratios: Vec<Row> = report.shapes.iter().map(ratio_row).collect();
    let idle = report.idle.iter().filter_map(idle_row);
    let attacks = report.attacks.iter().filter_map(attack_row);
    let shares: Vec<Row> = idle.chain(attacks).chain(report.goals.iter().filter_map(goal_row)).collect();
    let ratios = Panel {
        heading: format!("Ratio to {rival} at its best setting, which is 1x (more is better)"),
        columns: vec!["switchboard", rival, "p99", rival, "cpu/req", rival],
        end: end_of(&ratios),
        tick: |at| format!("{at}x"),
        rows: ratios,
    };
    let shares = Panel {
        heading: "Share of what is allowed (less is better)".to_owned(),
        columns: vec!["measured", "allowed", "p50", "before"],
        // So that one value far beyond the limit does not make the others invisible.
        end: end_of(&shares).min(2.0),
        tick: |at| format!("{:.0} %", at * 100.0),
        rows: shares,
    };
    [ratios, shares].into_iter().filter(|panel| !panel.rows.is_empty()).collect()
}

/// The end of an axis: the largest value that is drawn, and room for a label.
fn end_of(rows: &[Row]) -> f64 {
    let drawn = rows.iter().flat_map(|row| {
        let highest = row.spread.map_or(0.0, |(_, highest)| highest);
        [row.target.unwrap_or_default(), row.value.unwrap_or_default(), highest]
    });
    drawn.fold(1.0, f64::max) * 1.2
}

fn ratio_row(shape: &Shape) -> Row {
    let comparison = shape.comparison();
    let label = match (comparison.ratio, comparison.verdict) {
        (Some(ratio), Verdict::TailWorse) => format!("{}, p99 worse", times(ratio)),
        (Some(ratio), _) => times(ratio),
        (None, _) => "no valid turn".to_owned(),
    };
    let both = |text: &dyn Fn(Figures) -> Option<String>| {
        [comparison.ours, comparison.rival].map(|figures| figures.and_then(text).unwrap_or_default())
    };
    let figures = [
        both(&|figures| Some(per_second(figures.per_second, shape.unit))),
        both(&|figures| Some(duration(figures.p99_us))),
        both(&|figures| figures.cpu_us_per_request.map(duration)),
    ];
    Row {
        title: shape.title.clone(),
        value: comparison.ratio,
        spread: comparison.spread.map(|spread| (spread.lowest, spread.highest)),
        target: shape.target,
        color: match comparison.verdict {
            Verdict::Met => MET,
            Verdict::NoTarget => INFORMATIVE,
            Verdict::TooSlow | Verdict::TailWorse | Verdict::NotMeasured => MISSED,
        },
        label,
        figures: figures.concat(),
    }
}

fn idle_row(idle: &Idle) -> Option<Row> {
    let limit = idle.limit_kib?;
    let each = idle.per_connection_kib();
    let figures = vec![format!("{each:.1} KiB"), format!("{limit:.0} KiB")];
    Some(share_row(format!("Memory, {} idle connections", idle.connections), each / limit, figures))
}

fn attack_row(attack: &Attack) -> Option<Row> {
    let ratio = attack.ratio()?;
    let figures = vec![
        times(ratio),
        times(attack.limit),
        duration(attack.during?.p50_us),
        duration(attack.before.p50_us),
    ];
    Some(share_row(format!("A client's wait, {}", attack.title), ratio / attack.limit, figures))
}

fn goal_row(goal: &Goal) -> Option<Row> {
    let measured = match goal.bound {
        Bound::Rate(_) => per_second(goal.rate()?, Unit::Requests),
        Bound::Tail(_) => duration(goal.tail()?),
    };
    Some(share_row(goal.title.clone(), goal.share()?, vec![measured, bound(goal.bound)]))
}

fn share_row(title: String, share: f64, figures: Vec<String>) -> Row {
    let label = format!("{:.0} %", share * 100.0);
    let color = if share <= 1.0 { MET } else { MISSED };
    Row { title, value: Some(share), spread: None, target: Some(1.0), color, label, figures }
}

impl Panel<'_> {
    /// The height without the heading, which is drawn above `top`.
    fn height(&self) -> i32 {
        ROW * row_number(self.rows.len()) + AXIS
    }

    /// Draws the panel with its first row at `top`.
    fn draw(&self, canvas: &Canvas<'_>, top: i32) -> Result<()> {
        text(canvas, (MARGIN, top - 18), &self.heading, bold(13))?;
        for (column, right) in self.columns.iter().zip(COLUMNS) {
            text(canvas, (right, top - 18), column, right_aligned(&note()))?;
        }
        let size = (BARS_WIDTH.unsigned_abs(), self.height().unsigned_abs());
        let area = canvas.clone().shrink((BARS_LEFT, top), size);
        let bottom = f64::from(row_number(self.rows.len()));
        let mut bars =
            ChartBuilder::on(&area).x_label_area_size(AXIS).build_cartesian_2d(0.0..self.end, bottom..0.0)?;
        bars.configure_mesh()
            .disable_y_axis()
            .disable_y_mesh()
            .x_labels(6)
            .x_max_light_lines(1)
            .x_label_formatter(&|at| (self.tick)(*at))
            .bold_line_style(GRID)
            .light_line_style(GRID)
            .axis_style(GRID)
            .label_style(note())
            .draw()?;
        bars.draw_series([PathElement::new([(1.0, 0.0), (1.0, bottom)], NOTE.stroke_width(2))])?;
        for (number, row) in self.rows.iter().enumerate() {
            let middle = f64::from(row_number(number)) + 0.5;
            let at = |value: f64| bars.backend_coord(&(value.clamp(0.0, self.end), middle));
            row.draw(canvas, at)?;
        }
        Ok(())
    }
}

impl Row {
    /// Draws the bar, the spread, the target, the label and the figures. `at` gives the position of a value in the middle of
    /// the row.
    fn draw(&self, canvas: &Canvas<'_>, at: impl Fn(f64) -> (i32, i32)) -> Result<()> {
        let (left, middle) = at(0.0);
        text(canvas, (MARGIN, middle), &self.title, font(13))?;
        let (mut free, _) = at(self.value.unwrap_or_default());
        let bar = [(left, middle - BAR / 2), (free, middle + BAR / 2)];
        canvas.draw(&Rectangle::new(bar, self.color.filled()))?;
        if let Some((lowest, highest)) = self.spread {
            let (from, to) = (at(lowest).0, at(highest).0);
            line(canvas, (from, middle), (to, middle), 1)?;
            for end in [from, to] {
                line(canvas, (end, middle - 4), (end, middle + 4), 1)?;
            }
            free = free.max(to);
        }
        if let Some(target) = self.target {
            let (x, _) = at(target);
            line(canvas, (x, middle - 10), (x, middle + 10), 2)?;
            free = free.max(x);
        }
        // A label must not overlap the columns.
        let width = CHARACTER * row_number(self.label.chars().count());
        text(canvas, ((free + 7).min(COLUMNS_LEFT - width), middle), &self.label, bold(13))?;
        for (figure, right) in self.figures.iter().zip(COLUMNS) {
            text(canvas, (right, middle), figure, right_aligned(&font(12)))?;
        }
        Ok(())
    }
}

fn draw_head(canvas: &Canvas<'_>, report: &Report) -> Result<()> {
    text(canvas, (MARGIN, 30), &format!("Switchboard and {}, side by side", report.rival), bold(18))?;
    let turns = format!(
        "Medians of {} turns of {} s each, one after the other; cpu/req: processor time of the server for each request.",
        report.turns, report.seconds_per_turn
    );
    let origin = format!("{}; {}", versions(report), report.date);
    for (line, y) in [machine(report), origin, turns].iter().zip([54, 71, 88]) {
        text(canvas, (MARGIN, y), line, note())?;
    }
    let (left, middle) = (610, 30);
    for (color, meaning, x) in
        [(MET, "target met", left), (MISSED, "missed", left + 96), (INFORMATIVE, "no target", left + 170)]
    {
        let bar = [(x, middle - BAR / 2), (x + 12, middle + BAR / 2)];
        canvas.draw(&Rectangle::new(bar, color.filled()))?;
        text(canvas, (x + 18, middle), meaning, note())?;
    }
    line(canvas, (left + 264, middle - 8), (left + 264, middle + 8), 2)?;
    text(canvas, (left + 272, middle), "target", note())?;
    line(canvas, (left + 328, middle), (left + 350, middle), 1)?;
    for end in [left + 328, left + 350] {
        line(canvas, (end, middle - 4), (end, middle + 4), 1)?;
    }
    text(canvas, (left + 358, middle), "all turns", note())
}

fn line(canvas: &Canvas<'_>, from: (i32, i32), to: (i32, i32), width: u32) -> Result<()> {
    Ok(canvas.draw(&PathElement::new([from, to], TEXT.stroke_width(width)))?)
}

fn text(canvas: &Canvas<'_>, at: (i32, i32), text: &str, style: TextStyle<'_>) -> Result<()> {
    Ok(canvas.draw(&Text::new(text, at, style))?)
}

fn font(pixels: i32) -> TextStyle<'static> {
    // The SVG backend divides font sizes by this factor.
    let size = f64::from(pixels) * 1.24;
    let style = TextStyle::from((FONT, size).into_font()).color(&TEXT);
    style.pos(Pos::new(HPos::Left, VPos::Center))
}

fn bold(pixels: i32) -> TextStyle<'static> {
    let style = font(pixels);
    TextStyle { font: style.font.style(FontStyle::Bold), ..style }
}

fn note() -> TextStyle<'static> {
    font(12).color(&NOTE)
}

fn right_aligned(style: &TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Right, VPos::Center))
}

/// Converts a number of rows or characters, which is small.
fn row_number(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::report::Contestant;
    use super::super::report::tests::{report, shape};
    use super::*;

    fn drawn(shapes: Vec<Shape>) -> String {
        chart(&report(shapes)).expect("a text takes everything")
    }

    fn bars(svg: &str, RGBColor(red, green, blue): RGBColor) -> usize {
        let fill = format!("fill=\"#{red:02X}{green:02X}{blue:02X}\" stroke=\"none\"");
        svg.lines().filter(|line| line.starts_with("<rect ") && line.contains(&fill)).count()
    }

    #[test]
    fn each_shape_has_a_bar_in_the_colour_of_its_verdict() {
        let informative = Shape { target: None, ..shape([70.0; 3], [100.0; 3], 90.0) };
        let svg = drawn(vec![
            shape([160.0; 3], [100.0; 3], 90.0),
            shape([120.0; 3], [100.0; 3], 90.0),
            informative,
        ]);
        // Each has one in the legend. Memory and the attack are within their limits, and the goal is missed.
        assert_eq!((bars(&svg, MET), bars(&svg, MISSED), bars(&svg, INFORMATIVE)), (4, 3, 2));
        for text in ["1.60x", "1.20x", "0.70x", "50 %", "75 %", "12.0 KiB", "75.0 us", "9.0 us", "1x"] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text} is not in {svg}");
        }
    }

    #[test]
    fn a_bar_ends_where_its_value_is_on_the_axis() {
        let svg = drawn(vec![shape([150.0; 3], [100.0; 3], 90.0)]);
        // The axis ends at 1.8: 1.5 is at five sixths of its 349 pixels.
        let bar = format!("<rect x=\"{BARS_LEFT}\" y=\"153\" width=\"290\" height=\"{BAR}\"");
        assert!(svg.contains(&bar), "{svg}");
    }

    #[test]
    fn the_kept_results_can_be_drawn_again() {
        let report: Report =
            serde_json::from_str(include_str!("../results/http.json")).expect("the results are a report");
        let svg = chart(&report).expect("a text takes everything");
        assert!(report.shapes.iter().all(|shape| svg.contains(&shape.title)), "{svg}");
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let mut report = report(Vec::new());
        report.machine.cpu = "<script>A & B</script>".to_owned();
        let svg = chart(&report).expect("a text takes everything");
        assert!(svg.contains("&lt;script&gt;A &amp; B&lt;/script&gt;"), "{svg}");
        assert!(!svg.contains("<script>"));
    }

    #[test]
    fn every_colour_has_a_dark_one() {
        let svg = drawn(vec![shape([150.0; 3], [100.0; 3], 90.0)]);
        let (style, picture) = svg.split_once("</style>").expect("there is a style sheet");
        for part in picture.split(['"', ' ']).filter(|part| part.starts_with('#')) {
            assert!(style.contains(&format!("[fill=\"{part}\"]")), "{part}");
        }
    }

    #[test]
    fn a_shape_without_a_valid_turn_is_named_all_the_same() {
        let mut shape = shape([150.0; 3], [100.0; 3], 90.0);
        shape.ours = Contestant { turns: vec![None; 3], ..shape.ours };
        let svg = drawn(vec![shape]);
        assert!(svg.contains("no valid turn"));
        assert!(!svg.contains("NaN"));
    }
}
