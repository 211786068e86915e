//! Plots as SVG text: lines and bands over time, with axes, units and a legend. Small on purpose.

use std::fmt::{Display, Write as _};

/// Width of a plot, and its height, in CSS pixels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
/// Room for the axes and the legend.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;
/// Least distance between two marks: their words stand upright.
const MARKS_APART: f64 = 15.0;
/// Points of a line beyond which neighbours are drawn as their lowest and highest: more cannot be seen.
const MOST_POINTS: usize = 1600;

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Through.
    Solid,
    /// Dashes: what is asked or allowed.
    Dashed,
    /// Steps: a value holds until the next.
    Steps,
    /// Small dots: measurements.
    Dots,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// In the legend.
    pub name: &'static str,
    /// A CSS colour.
    pub colour: &'static str,
    /// How.
    pub style: Style,
    /// Time and value; a value that is no number leaves a hole.
    pub points: Vec<(f64, f64)>,
}

/// One plot.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// At its vertical axis: quantity and unit.
    pub label: &'static str,
    /// At its horizontal axis.
    pub time: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
    /// Times that are marked, with a word each.
    pub marks: Vec<(f64, String)>,
}

/// Text inside XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Lowest and highest of finite values, with something between them.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    if high - low < 1e-9 { (low - 0.5, high + 0.5) } else { (low, high) }
}

/// A step between ticks that people count in, for about so many of them.
fn step(span: f64, ticks: f64, steps: &[f64]) -> f64 {
    let rough = span / ticks;
    if let Some(step) = steps.iter().find(|step| **step >= rough) {
        return *step;
    }
    let ten = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|by| by * ten).find(|step| *step >= rough).unwrap_or(rough)
}

fn ticks(low: f64, high: f64, step: f64) -> impl Iterator<Item = f64> {
    let first = (low / step - 1e-9).ceil();
    (0..60).map(move |n| (first + f64::from(n)) * step).take_while(move |tick| *tick <= high + step * 1e-6)
}

/// At most [`MOST_POINTS`], keeping lows and highs.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let chunk = points.len().div_ceil(MOST_POINTS / 2);
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    points
        .chunks(chunk)
        .flat_map(|chunk| {
            let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let (low, high) = (chunk.iter().min_by(by), chunk.iter().max_by(by));
            let mut both: Vec<(f64, f64)> = low.into_iter().chain(high).copied().collect();
            both.sort_by(|a, b| a.0.total_cmp(&b.0));
            both
        })
        .collect()
}

/// A number with no more digits than it needs.
fn short(value: f64) -> impl Display {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

impl Plot {
    /// As an SVG element. Times are in the unit that `time` names.
    pub fn svg(&self) -> String {
        let (t0, t1) = range(self.lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)));
        let (low, high) = range(self.lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)));
        let pad = (high - low) * 0.06;
        let (low, high) = (if low >= 0.0 && low < pad * 4.0 { 0.0 } else { low - pad }, high + pad);
        let x = |t: f64| LEFT + (t - t0) / (t1 - t0) * (WIDTH - LEFT - RIGHT);
        let y = |v: f64| TOP + (high - v) / (high - low) * (HEIGHT - TOP - BOTTOM);
        let mut out = String::new();
        let title = escape(&self.title);
        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\" \
             xmlns=\"http://www.w3.org/2000/svg\"><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>"
        );
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in ticks(low, high, step(high - low, 5.0, &[])) {
            let at = y(tick);
            let _ = write!(
                out,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e3e6ea\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 3.5,
                short(tick)
            );
        }
        for tick in ticks(t0, t1, step(t1 - t0, 12.0, &[0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0, 24.0])) {
            let at = x(tick);
            let _ = write!(
                out,
                "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#eef0f2\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                short(tick)
            );
        }
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            escape(self.time),
            (TOP + bottom) / 2.0,
            escape(self.label)
        );
        for line in &self.lines {
            drawn(&mut out, line, (&x, &y));
        }
        self.marked(&mut out, x);
        let _ = write!(out, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#7b858f\"/>");
        self.legend(&mut out);
        out.push_str("</svg>");
        out
    }

    fn marked(&self, out: &mut String, x: impl Fn(f64) -> f64) {
        let mut last = f64::NEG_INFINITY;
        for (t, word) in &self.marks {
            let at = x(*t);
            // One that would lie on the one before is left to the list below the plots.
            if !(LEFT..=WIDTH - RIGHT).contains(&at) || at - last < MARKS_APART {
                continue;
            }
            last = at;
            let bottom = HEIGHT - BOTTOM;
            let _ = write!(out, "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#c4a35a\" stroke-dasharray=\"2 3\"/>");
            let _ = write!(
                out,
                "<text class=\"mark\" transform=\"translate({:.1} {:.1}) rotate(-90)\">{}</text>",
                at + 10.0,
                bottom - 4.0,
                escape(word)
            );
        }
    }

    fn legend(&self, out: &mut String) {
        let _ = write!(out, "<text x=\"{LEFT}\" y=\"16\" class=\"title\">{}</text>", escape(&self.title));
        let mut at = WIDTH - RIGHT;
        for line in self.lines.iter().rev() {
            at -= 7.0 * line.name.len() as f64 + 34.0;
            let dash = if line.style == Style::Dashed { " stroke-dasharray=\"5 3\"" } else { "" };
            let _ = write!(
                out,
                "<path d=\"M{at:.1} 12H{:.1}\" stroke=\"{}\" stroke-width=\"2\"{dash}/><text x=\"{:.1}\" y=\"16\">{}</text>",
                at + 20.0,
                line.colour,
                at + 25.0,
                escape(line.name)
            );
        }
    }
}

fn drawn(out: &mut String, line: &Line, (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64)) {
    let points = thinned(&line.points);
    if line.style == Style::Dots {
        let _ = write!(out, "<path stroke=\"{}\" stroke-width=\"2\" stroke-linecap=\"round\" d=\"", line.colour);
        for (t, value) in points.iter().filter(|point| point.1.is_finite()) {
            let _ = write!(out, "M{:.1} {:.1}h0", x(*t), y(*value));
        }
        out.push_str("\"/>");
        return;
    }
    let dash = if line.style == Style::Dashed { " stroke-dasharray=\"5 3\"" } else { "" };
    let _ = write!(out, "<path fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"{dash} d=\"", line.colour);
    let mut pen = 'M';
    for (t, value) in points {
        if !value.is_finite() {
            pen = 'M';
            continue;
        }
        let (x, y) = (x(t), y(value));
        if line.style == Style::Steps && pen == 'L' {
            let _ = write!(out, "H{x:.1}V{y:.1}");
        } else {
            let _ = write!(out, "{pen}{x:.1} {y:.1}");
        }
        pen = 'L';
    }
    out.push_str("\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: Vec<(f64, f64)>) -> Line {
        Line { name: "heat", colour: "#123456", style: Style::Solid, points }
    }

    #[test]
    fn axes_have_labels_units_and_round_ticks() {
        let points = (0..100).map(|n| (f64::from(n) / 10.0, f64::from(n))).collect();
        let plot = Plot {
            title: "A < B".into(),
            label: "power, kW",
            time: "time, h",
            lines: vec![line(points)],
            marks: vec![(5.0, "link cut".into())],
        };
        let svg = plot.svg();
        for part in ["power, kW", "time, h", ">heat<", ">50<", ">100<", "A &lt; B", "link cut", "<svg ", "</svg>"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }

    #[test]
    fn marks_do_not_lie_on_each_other() {
        let points = (0..=10).map(|n| (f64::from(n), 1.0)).collect();
        let marks = [(5.0, "limit 30 kW"), (5.01, "limited"), (6.0, "heating")];
        let marks = marks.map(|(t, word)| (t, word.to_owned())).to_vec();
        let svg = Plot { lines: vec![line(points)], marks, ..Plot::default() }.svg();
        assert!(svg.contains(">limit 30 kW<") && svg.contains(">heating<"), "{svg}");
        assert!(!svg.contains(">limited<"), "{svg}");
    }

    #[test]
    fn nothing_at_all_and_no_numbers_are_plots_too() {
        assert!(Plot::default().svg().contains("</svg>"));
        let svg = Plot { lines: vec![line(vec![(0.0, f64::NAN), (1.0, f64::INFINITY)])], ..Plot::default() }.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let flat = Plot { lines: vec![line(vec![(0.0, 5.0), (1.0, 5.0)])], ..Plot::default() }.svg();
        assert!(!flat.contains("NaN"), "{flat}");
    }

    #[test]
    fn long_lines_are_thinned_and_keep_their_peaks() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|n| (f64::from(n), 1.0)).collect();
        points[77_777].1 = 99.0;
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS + 2, "{}", thin.len());
        assert!(thin.iter().any(|point| point.1 == 99.0));
    }
}
