//! The two plots, as SVG: logarithmic to the right, each line named at its end.

use std::fmt::Write as _;

use crate::figures::{Figures, Forged, Size};

const WIDTH: f64 = 720.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 40.0;
const COLOURS: [&str; 3] = ["#0b6e99", "#c2571a", "#6b6b6b"];

/// A line: its name, and its points by the number of GitRepos or of bytes.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// One system of coordinates.
struct Panel {
    title: &'static str,
    right: &'static str,
    lines: Vec<Line>,
    /// Whether upwards is logarithmic too.
    logarithmic: bool,
}

/// Latency and requests against the number of GitRepos.
pub fn gitrepos(figures: &Figures) -> String {
    let line = |name, value: fn(&Size) -> f64| Line {
        name,
        points: figures.sizes.iter().map(|size| (size.gitrepos as f64, value(size))).collect(),
    };
    let latency = Panel {
        title: "p50 in milliseconds",
        right: "GitRepos",
        lines: vec![
            line("index", |size| size.index.times.p50.as_secs_f64() * 1e3),
            line("stateless", |size| size.stateless.times.p50.as_secs_f64() * 1e3),
            line("a bare patch", |size| size.index.bare.p50.as_secs_f64() * 1e3),
        ],
        logarithmic: false,
    };
    let requests = Panel {
        title: "requests to the API server for a delivery",
        right: "GitRepos",
        lines: vec![
            line("index", |size| size.index.requests),
            line("stateless", |size| size.stateless.requests),
        ],
        logarithmic: false,
    };
    svg(&[latency, requests])
}

/// CPU of a forged delivery against the size of its body.
pub fn forged(forged: &Forged) -> String {
    let points = |value: fn(&crate::figures::Body) -> f64| {
        forged.bodies.iter().map(|body| (body.bytes as f64, value(body))).collect()
    };
    svg(&[Panel {
        title: "CPU in microseconds",
        right: "bytes",
        lines: vec![
            Line { name: "forged delivery", points: points(|body| body.cpu.as_secs_f64() * 1e6) },
            Line {
                name: "HMAC and parsing",
                points: points(|body| body.floor.as_secs_f64() * 1e6),
            },
        ],
        logarithmic: true,
    }])
}

fn svg(panels: &[Panel]) -> String {
    let height = panels.len() as f64 * (PANEL + TOP) + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, number as f64 * (PANEL + TOP) + TOP);
    }
    svg + "</svg>\n"
}

impl Panel {
    fn draw(&self, svg: &mut String, top: f64) {
        let bottom = top + PANEL - 20.0;
        let end = WIDTH - RIGHT;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(1.0, f64::max);
        let least = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MAX, f64::min);
        let (from, to) = (least(|p| p.0).log10(), most(|p| p.0).log10());
        let right = |x: f64| LEFT + (end - LEFT) * (x.log10() - from) / (to - from);
        let (low, high) = match self.logarithmic {
            true => (least(|p| p.1).log10().floor(), most(|p| p.1).log10().ceil()),
            false => (0.0, rounded(most(|p| p.1))),
        };
        let scaled = |y: f64| if self.logarithmic { y.log10() } else { y };
        let up = |y: f64| bottom - (bottom - top) * (scaled(y) - low) / (high - low);

        writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>",
            top - 14.0,
            self.title
        )
        .unwrap();
        let steps = if self.logarithmic { (high - low) as i32 } else { 4 };
        for step in 0..=steps {
            let value = low + (high - low) * f64::from(step) / f64::from(steps);
            let value = if self.logarithmic { 10_f64.powf(value) } else { value };
            let y = up(value);
            writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", LEFT - 8.0, y + 4.0).unwrap();
        }
        for (x, _) in self.lines.first().map(|line| &line.points).into_iter().flatten() {
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>",
                right(*x),
                bottom + 18.0
            )
            .unwrap();
        }
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\">{}</text>",
            end + 30.0,
            bottom + 18.0,
            self.right
        )
        .unwrap();
        // Names that would stand on each other are moved apart, from the lowest up.
        let mut names: Vec<_> = self.lines.iter().zip(COLOURS).collect();
        let last = |line: &Line| line.points.last().map_or(bottom, |point| up(point.1));
        names.sort_by(|one, other| last(other.0).total_cmp(&last(one.0)));
        let mut below = f64::MAX;
        for (line, colour) in names {
            let path: Vec<_> = line
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", right(*x), up(*y)))
                .collect();
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            )
            .unwrap();
            below = last(line).min(below - 15.0);
            writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
                end + 8.0,
                below + 4.0,
                line.name
            )
            .unwrap();
        }
    }
}

/// The next number that divides into four.
fn rounded(most: f64) -> f64 {
    let unit = 10_f64.powf(most.log10().floor());
    let wanted = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].into_iter().find(|step| step * unit >= most);
    wanted.unwrap_or(10.0) * unit
}
