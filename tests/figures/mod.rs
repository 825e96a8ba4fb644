//! Figures, read as a person reads them: marks are held against their axes' labels, colours against the colour
//! bar, and the values against the parquet files, not against what drew them.

mod files;
mod flow;
mod layout;
mod marks;
mod phase;
mod python;
mod train;

use std::fs::File;
use std::path::{Path, PathBuf};

use attnscope::compare::Metric;
use attnscope::figures::{Figure, Figures, Request, draw};
use attnscope::metrics::HeadSums;
use attnscope::store::{Fingerprint, Parts, Provenance, SampleRow};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use resvg::usvg::roxmltree::{Document, Node};
use tempfile::TempDir;

/// A scan that never happened: its model's name, and how many heads each layer has.
struct Scan<'a> {
    name: &'a str,
    heads: Vec<usize>,
    /// (layer, head) without a finite row.
    broken: Vec<(usize, usize)>,
    /// Of a row; 1 for softmax.
    total: f64,
}

impl<'a> Scan<'a> {
    fn new(name: &'a str, layers: usize, heads: usize) -> Self {
        Self {
            name,
            heads: vec![heads; layers],
            broken: Vec::new(),
            total: 1.0,
        }
    }

    /// Writes it to `out`.
    fn write(&self, out: &Path) -> PathBuf {
        let mut seed = self.name.bytes().map(u64::from).sum::<u64>() + 1;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut rows = Vec::new();
        for (layer, &heads) in self.heads.iter().enumerate() {
            for head in 0..heads {
                let mut sums = HeadSums::default();
                let share = random();
                let first = share * random();
                for _ in 0..4 {
                    let total = if self.broken.contains(&(layer, head)) {
                        f32::NAN
                    } else {
                        self.total as f32
                    };
                    sums.add_row(
                        share as f32 * total,
                        total,
                        first as f32 * total,
                        (3.0 * (1.0 - share)) as f32,
                    );
                }
                rows.push(SampleRow {
                    sample: 7,
                    layer: layer as i32,
                    head: head as i32,
                    sums,
                });
            }
        }
        let facts = [
            ("model", self.name),
            ("dataset", "none"),
            ("n_samples", "1"),
            ("indices_sha256", "ab"),
            ("max_seq_len", "64"),
        ];
        let facts = facts.map(|(key, value)| (format!("attnscope.{key}"), value.to_owned()));
        let mut parts = Parts::create(out, &Fingerprint::new()).unwrap();
        parts.write(0, 0..self.heads.len(), rows).unwrap();
        parts
            .finish(self.heads.len(), &[7], None, &Provenance::from(facts))
            .unwrap();
        parts.remove().unwrap();
        out.to_path_buf()
    }
}

/// Scans on the disk.
struct World {
    dir: TempDir,
    paths: Vec<PathBuf>,
}

impl World {
    fn of(scans: &[Scan<'_>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |(at, scan): (usize, &Scan<'_>)| scan.write(&dir.path().join(at.to_string()));
        let paths = scans.iter().enumerate().map(write).collect();
        Self { dir, paths }
    }

    fn request(&self, metrics: &[Metric]) -> Request {
        Request {
            scans: self.paths.clone(),
            force: false,
            metrics: metrics.to_vec(),
        }
    }

    fn draw(&self, metrics: &[Metric]) -> Figures {
        draw(&self.request(metrics)).unwrap()
    }

    /// A column of a scan's `heads.parquet`, by layer and head; `None` where there is no number.
    fn column(&self, scan: usize, name: &str) -> Vec<Vec<Option<f64>>> {
        let file = File::open(self.paths[scan].join("heads.parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let mut layers: Vec<Vec<Option<f64>>> = Vec::new();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let field = |wanted: &str| {
                let mut columns = row.get_column_iter();
                columns.find(|(name, _)| *name == wanted).unwrap().1
            };
            let Field::Int(layer) = field("layer") else {
                panic!("{row}")
            };
            layers.resize_with(layers.len().max(*layer as usize + 1), Vec::new);
            let value = match field(name) {
                Field::Double(value) if value.is_finite() => Some(*value),
                Field::Double(_) | Field::Null => None,
                other => panic!("{other}"),
            };
            layers[*layer as usize].push(value);
        }
        layers
    }

    fn scores(&self, scan: usize, name: &str) -> Vec<f64> {
        self.column(scan, name)
            .into_iter()
            .flatten()
            .flatten()
            .collect()
    }
}

fn named<'a>(figures: &'a Figures, name: &str) -> &'a Figure {
    let mut found = figures.figures.iter().filter(|figure| figure.name == name);
    found.next().unwrap_or_else(|| panic!("no figure {name}"))
}

/// A drawn rectangle; numbers are in the units of the view box, four to a pixel.
#[derive(Debug, Clone, PartialEq)]
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    fill: String,
    opacity: f64,
}

/// A line, or the outline of a polygon.
#[derive(Debug, Clone)]
struct Stroke {
    points: Vec<(f64, f64)>,
    colour: String,
    width: f64,
    opacity: f64,
}

/// What an SVG file holds.
#[derive(Debug)]
struct Svg {
    bars: Vec<Bar>,
    lines: Vec<Stroke>,
    polygons: Vec<Stroke>,
    /// Centres, with colours.
    circles: Vec<(f64, f64, String)>,
    /// Words with their places and anchors; those that are turned have their anchor `turned`.
    words: Vec<(String, f64, f64, String)>,
}

impl Svg {
    fn of(figure: &Figure) -> Self {
        let document = Document::parse(&figure.svg).unwrap();
        let nodes = |tag: &'static str| {
            let nodes: Vec<Node<'_, '_>> = document
                .descendants()
                .filter(|node| node.has_tag_name(tag))
                .collect();
            nodes
        };
        let text = |node: &Node<'_, '_>, name: &str| node.attribute(name).unwrap_or("").to_owned();
        let number = |node: &Node<'_, '_>, name: &str| -> f64 {
            let value = text(node, name);
            value.parse().unwrap_or_else(|_| panic!("{name}={value}"))
        };
        let points = |node: &Node<'_, '_>| -> Vec<(f64, f64)> {
            let parse = |pair: &str| {
                let (x, y) = pair.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            };
            text(node, "points").split_whitespace().map(parse).collect()
        };
        Self {
            bars: nodes("rect")
                .iter()
                .map(|node| Bar {
                    x: number(node, "x"),
                    y: number(node, "y"),
                    width: number(node, "width"),
                    height: number(node, "height"),
                    fill: text(node, "fill"),
                    opacity: number(node, "opacity"),
                })
                .collect(),
            lines: nodes("polyline")
                .iter()
                .map(|node| Stroke {
                    points: points(node),
                    colour: text(node, "stroke"),
                    width: number(node, "stroke-width"),
                    opacity: number(node, "opacity"),
                })
                .collect(),
            polygons: nodes("polygon")
                .iter()
                .map(|node| Stroke {
                    points: points(node),
                    colour: text(node, "fill"),
                    width: 0.0,
                    opacity: number(node, "opacity"),
                })
                .collect(),
            circles: nodes("circle")
                .iter()
                .map(|node| (number(node, "cx"), number(node, "cy"), text(node, "fill")))
                .collect(),
            words: nodes("text")
                .iter()
                .map(|node| {
                    let words = node.text().unwrap_or("").trim_matches('\n').to_owned();
                    let anchor = match node.has_attribute("transform") {
                        true => "turned".to_owned(),
                        false => text(node, "text-anchor"),
                    };
                    (words, number(node, "x"), number(node, "y"), anchor)
                })
                .collect(),
        }
    }

    /// All words, with ordinary spaces.
    fn text(&self) -> String {
        let words: Vec<String> = self
            .words
            .iter()
            .map(|(words, ..)| words.replace('\u{a0}', " "))
            .collect();
        words.join("\n")
    }

    /// The plots: each frame is a dark line down the left and along the bottom.
    fn frames(&self) -> Vec<Frame<'_>> {
        let corner = |line: &&Stroke| line.points.len() == 3 && line.colour == "#222222";
        let frames = self.lines.iter().filter(corner);
        frames
            .map(|line| Frame {
                svg: self,
                left: line.points[0].0,
                top: line.points[0].1,
                right: line.points[2].0,
                bottom: line.points[2].1,
            })
            .collect()
    }
}

/// The number that a label stands for: `0.25`, `5 %`, `10⁻³`, `2×10⁵`.
fn number(label: &str) -> f64 {
    if let Some(per_cent) = label.strip_suffix(" %") {
        return per_cent.parse::<f64>().unwrap() / 100.0;
    }
    const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let is_raised = |c: char| c == '⁻' || RAISED.contains(c);
    let Some(at) = label.find(is_raised) else {
        return label
            .parse()
            .unwrap_or_else(|_| panic!("`{label}` is no number"));
    };
    let power = label[at..].chars().map(|c| match c {
        '⁻' => '-',
        c => char::from_digit(RAISED.chars().position(|r| r == c).unwrap() as u32, 10).unwrap(),
    });
    let base = label[..at].replace('×', "*");
    let digit = match base.split_once('*') {
        Some((digit, "10")) => digit,
        None if base == "10" => "1",
        _ => panic!("`{label}` is no power of ten"),
    };
    format!("{digit}e{}", power.collect::<String>())
        .parse()
        .unwrap()
}

/// A plot's frame; it reads values off its ticks.
#[derive(Debug)]
struct Frame<'a> {
    svg: &'a Svg,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Frame<'_> {
    fn contains(&self, x: f64, y: f64) -> bool {
        (self.left..=self.right).contains(&x) && (self.top..=self.bottom).contains(&y)
    }

    /// Places of the ticks on the axis, with the numbers beside them.
    fn ticks(&self, vertical: bool) -> Vec<(f64, f64)> {
        let near = |a: f64, b: f64| (a - b).abs() <= 1.0;
        let ticks = self.svg.lines.iter().filter(|line| line.points.len() == 2);
        let places = ticks.filter_map(|line| {
            let [(x, y), (to_x, to_y)] = [line.points[0], line.points[1]];
            match vertical {
                true if near(to_x, self.left) && near(to_x - x, 16.0) && near(y, to_y) => Some(y),
                false if near(y, self.bottom) && near(to_y - y, 16.0) && near(x, to_x) => Some(x),
                _ => None,
            }
        });
        let inside = places.filter(|place| match vertical {
            true => (self.top - 1.0..=self.bottom + 1.0).contains(place),
            false => (self.left - 1.0..=self.right + 1.0).contains(place),
        });
        let numbers = inside.map(|place| {
            // The nearest words on the outer side of the tick.
            let words = self
                .svg
                .words
                .iter()
                .filter(|(_, x, y, anchor)| match vertical {
                    true => {
                        anchor == "end"
                            && *x < self.left
                            && *x > self.left - 40.0
                            && (*y - place).abs() < 40.0
                    }
                    false => {
                        anchor == "middle"
                            && *y > self.bottom
                            && *y < self.bottom + 60.0
                            && (*x - place).abs() < 1.0
                    }
                });
            let distance = |(_, x, y, _): &&(String, f64, f64, String)| match vertical {
                true => (*y - place).abs(),
                false => (*x - place).abs(),
            };
            let nearest = words.min_by(|a, b| distance(a).total_cmp(&distance(b)));
            let (words, ..) = nearest.unwrap_or_else(|| panic!("no number at {place}"));
            (place, number(words))
        });
        numbers.collect()
    }

    /// The place of a value, by the outermost ticks of the axis; equal ratios are equal lengths on a logarithmic one.
    fn place(&self, vertical: bool, logarithmic: bool, value: f64) -> f64 {
        let ticks = self.ticks(vertical);
        let of = |value: f64| if logarithmic { value.log10() } else { value };
        let ((from, low), (to, high)) = (ticks[0], *ticks.last().unwrap());
        from + (of(value) - of(low)) / (of(high) - of(low)) * (to - from)
    }

    /// The value at a place, by the outermost ticks of the axis.
    fn value(&self, vertical: bool, place: f64) -> f64 {
        let ticks = self.ticks(vertical);
        let ((from, low), (to, high)) = (ticks[0], *ticks.last().unwrap());
        low + (place - from) / (to - from) * (high - low)
    }
}
