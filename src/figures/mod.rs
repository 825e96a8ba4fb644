//! Plots of scans, of followed flows and of trained models, as SVG and PNG. Nothing is computed here that a reader of `heads.parquet`, or
//! of the recorded trajectories, could not repeat: counts, means, medians and quantiles of the heads' scores.
//!
//! [`draw`] makes, of one scan or several beside each other:
//! - `histogram-sparsity_score` and `histogram-max_weight`: how many heads have which score, in bins of a twentieth
//!   (a fortieth from 400 heads on). The text of the paper's Appendix E.2 divides a row's largest weight by the row's
//!   total, the histogram published as its Figure 7 does not: both are drawn;
//! - `heads-<metric>`: a map of every head's score, with one colour scale for all models;
//! - `layers-<metric>`: the median and the quantiles of each layer's heads;
//! - `scatter`: the sparsity score against the first-token share.
//!
//! Which scans can stand beside each other, [`crate::compare`] decides.
//!
//! [`draw_flow`] makes a figure of each experiment among followed value-softmax models, and [`draw_phase_map`] a map of
//! one number for each pair of settings. [`draw_training`] makes figures of a training run, [`draw_sweep`] bars of the
//! runs of a grid, by attention function.
//!
//! # How they are drawn
//!
//! [`plotters`] writes the SVG, [`resvg`] turns that very file into pixels, and the font comes out of the crate
//! `dejavu`: no library and no font of the machine takes part, and equal scans give equal bytes. Of plotters only the
//! backend, the elements and the colour map are used. Where texts go is decided here, from the font's own widths:
//! names of models are long, and plotters without a font library only guesses.
//!
//! ```
//! use attnscope::compare::Metric;
//! use attnscope::figures::{self, Format, Request};
//!
//! # fn main() -> attnscope::Result<()> {
//! # let temporary = tempfile::tempdir().map_err(attnscope::Error::io("out"))?;
//! # let out = temporary.path();
//! let scans = ["small-softmax", "small-sigmoid"];
//! let drawn = figures::draw(&Request {
//!     scans: scans.map(|name| format!("tests/golden/compare/{name}.parquet").into()).to_vec(),
//!     force: false,
//!     metrics: vec![Metric::SparsityScore],
//! })?;
//! let files = figures::write(&drawn, &Format::ALL, out)?;
//! assert_eq!(files[1], out.join("histogram-sparsity_score.png"));
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;

use serde::Serialize;

use crate::compare::{Difference, Held, Metric, Scan, shape_in_words};
use crate::metrics::Measures;
use crate::store::HeadRow;
use crate::{Error, Result};

mod axis;
mod canvas;
mod cells;
mod colours;
mod curves;
mod decades;
mod fit;
mod flow;
mod heat_maps;
mod histogram;
mod layers;
mod panels;
mod phase_map;
mod png;
mod scatter;
mod sheet;
mod sweep;
mod text;
mod train;
mod words;
mod write;

pub use flow::{draw_flow, flow_figure_name};
pub use phase_map::{MapAxis, PhaseMap, draw_phase_map, phase_map_name};
pub use png::PIXEL_RATIO;
pub use sweep::{SweepFigures, draw_sweep, is_sweep_figure};
pub use train::{Training, draw_training, training_figure_names};
pub use write::{
    refuse_occupied, refuse_occupied_names, remove_figures, replace_figures, write, write_figures,
};

/// The two kinds of sparsity whose histograms are drawn.
const HISTOGRAMS: [Metric; 2] = [Metric::SparsityScore, Metric::MaxWeight];

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Scalable, with texts that can be searched; its viewer has the fonts.
    Svg,
    /// [`PIXEL_RATIO`] pixels for each of the SVG file's.
    Png,
}

impl Format {
    /// All.
    pub const ALL: [Format; 2] = [Format::Svg, Format::Png];

    /// The end of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Svg => "svg",
            Format::Png => "png",
        }
    }
}

/// What to draw.
#[derive(Debug, Clone)]
pub struct Request {
    /// One scan or more: output directories, or single parquet files. The others are held against the first.
    pub scans: Vec<PathBuf>,
    /// Go on where scans did not measure the same thing; the figures then say so.
    pub force: bool,
    /// Metrics of the maps and of the scores by layer; one that is named twice is drawn once.
    pub metrics: Vec<Metric>,
}

/// A drawn figure.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The file's name, without its end.
    pub name: String,
    /// The SVG file.
    pub svg: String,
    /// Of the SVG, in pixels.
    pub width: u32,
    /// Of the SVG, in pixels.
    pub height: u32,
}

impl Figure {
    fn new(name: String, svg: String, (width, height): (u32, u32)) -> Self {
        Self {
            name,
            svg,
            width,
            height,
        }
    }

    /// The bytes of a PNG file with the same picture, [`PIXEL_RATIO`] times as wide and as high.
    ///
    /// # Errors
    /// [`Error::Figure`] if there are too many pixels.
    pub fn png(&self) -> Result<Vec<u8>> {
        png::encode(self)
    }
}

/// A scan that was drawn.
#[derive(Debug, Clone, Serialize)]
pub struct DrawnScan {
    /// As it is called in the figures.
    pub label: String,
    /// Where it was read from.
    pub path: String,
    /// Its layers.
    pub layers: usize,
    /// Heads of all layers, with those that have no finite score.
    pub heads: usize,
    /// Attention rows that are not finite, over all heads.
    pub non_finite_rows: i64,
}

/// The figures of some scans.
#[derive(Debug, Clone)]
pub struct Figures {
    /// In the order of [`crate::figures`].
    pub figures: Vec<Figure>,
    /// What they show, in the order of the request.
    pub scans: Vec<DrawnScan>,
    /// What was not the same in these scans; not empty only by force.
    pub differences: Vec<Difference>,
    /// What a reader should know.
    pub remarks: Vec<String>,
}

/// Reads the scans and draws them.
///
/// # Errors
/// [`Error::Usage`] for no scan, for a metric that was not measured, and for scans that did not measure the same thing
/// unless that is forced;
/// [`Error::Parquet`] for a scan without a single finite score; what [`crate::store`] says of directories and files
/// that are no scans.
pub fn draw(request: &Request) -> Result<Figures> {
    if request.scans.is_empty() {
        return Err(Error::Usage("figures needs a scan".into()));
    }
    let held = Held::read(&request.scans, request.force)?;
    check_measured(&held, &request.metrics)?;
    let scans = Scans {
        models: held
            .scans
            .iter()
            .zip(&held.labels)
            .map(|(scan, label)| Model::of(scan, label))
            .collect::<Result<_>>()?,
        measures: held.scans[0].measures,
        differing: fields(&held.differences),
    };
    let ruler = sheet::ruler()?;
    let mut remarks = held.remarks;
    for model in &scans.models {
        let (missing, all) = (model.missing(Metric::SparsityScore), model.heads());
        if missing > 0 {
            remarks.push(format!(
                "{}: {missing} of {all} heads have no finite score; the maps show which, the other figures leave them out",
                model.label
            ));
        }
    }
    let mut missing = ruler.missing(&held.labels.concat());
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(char::to_string).collect();
        remarks.push(format!(
            "the font of the PNG files has no sign for {}: a box stands in its place; the SVG files take one from their viewer",
            missing.join(", ")
        ));
    }
    let mut figures = Vec::new();
    for metric in HISTOGRAMS {
        figures.push(histogram::draw(&scans, metric, &ruler)?);
    }
    for metric in once(&request.metrics) {
        figures.push(heat_maps::draw(&scans, metric, &ruler)?);
        figures.push(layers::draw(&scans, metric, &ruler)?);
    }
    figures.push(scatter::draw(&scans, &ruler)?);
    let drawn = held.scans.iter().zip(&held.labels);
    let drawn = drawn.map(|(scan, label)| DrawnScan {
        label: label.clone(),
        path: scan.path.display().to_string(),
        layers: scan.layers().count(),
        heads: scan.heads.len(),
        non_finite_rows: scan.non_finite_rows(),
    });
    Ok(Figures {
        figures,
        scans: drawn.collect(),
        differences: held.differences,
        remarks,
    })
}

/// Every metric must have been measured in all scans, and with the same parameters.
fn check_measured(held: &Held, metrics: &[Metric]) -> Result<()> {
    let first = &held.scans[0].measures;
    for (scan, label) in held.scans.iter().zip(&held.labels) {
        for metric in metrics {
            let name = metric.name();
            let asked_for_as = metric.asked_for_as().unwrap_or_default();
            if !metric.is_measured(&scan.measures) {
                return Err(Error::Usage(format!(
                    "{label} has not measured {name}; scan again with --metrics {asked_for_as}"
                )));
            }
            if !metric.is_measured_alike(first, &scan.measures) {
                return Err(Error::Usage(format!(
                    "{label} has measured {name} with other parameters than {}; scan again with the same ones",
                    held.labels[0]
                )));
            }
        }
    }
    Ok(())
}

/// The names of the figures that [`draw`] makes.
fn figure_names(metrics: &[Metric]) -> Vec<String> {
    let histograms = HISTOGRAMS.map(|metric| format!("histogram-{}", metric.name()));
    let metrics = once(metrics);
    let others = metrics
        .iter()
        .flat_map(|metric| ["heads", "layers"].map(|kind| format!("{kind}-{}", metric.name())));
    histograms
        .into_iter()
        .chain(others)
        .chain(["scatter".into()])
        .collect()
}

fn once(metrics: &[Metric]) -> Vec<Metric> {
    let mut kept: Vec<Metric> = Vec::new();
    for metric in metrics {
        if !kept.contains(metric) {
            kept.push(*metric);
        }
    }
    kept
}

/// Which fields differ, each once.
fn fields(differences: &[Difference]) -> Vec<String> {
    let mut fields: Vec<String> = differences.iter().map(|d| d.field.clone()).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

/// What is drawn.
struct Scans {
    models: Vec<Model>,
    /// What the first of them has measured, as all of them have what is drawn.
    measures: Measures,
    /// Fields in which the scans differ though they should not.
    differing: Vec<String>,
}

/// A scan as a plot sees it.
struct Model {
    label: String,
    /// `4 layers × 6 heads`.
    shape: String,
    layers: Vec<Vec<HeadRow>>,
}

impl Model {
    fn of(scan: &Scan, label: &str) -> Result<Self> {
        let model = Self {
            label: label.into(),
            shape: shape_in_words(scan),
            layers: scan.layers().map(<[_]>::to_vec).collect(),
        };
        match model.finite(Metric::SparsityScore).is_empty() {
            false => Ok(model),
            true => Err(Error::Parquet {
                path: scan.path.clone(),
                message: "no head has a finite score, so there is nothing to draw; look for the cause in the model"
                    .into(),
            }),
        }
    }

    /// The scores of all heads that have one, in the order of layers and heads.
    fn finite(&self, metric: Metric) -> Vec<f64> {
        let heads = self.layers.iter().flatten();
        let scores = heads.map(|head| metric.score(&head.sums));
        scores.filter(|score| score.is_finite()).collect()
    }

    fn heads(&self) -> usize {
        self.layers.iter().map(Vec::len).sum()
    }

    /// Heads without a finite score.
    fn missing(&self, metric: Metric) -> usize {
        self.heads() - self.finite(metric).len()
    }
}

impl Scans {
    /// The least and the largest score of all models.
    fn range(&self, metric: Metric) -> (f64, f64) {
        let scores = self.models.iter().flat_map(|model| model.finite(metric));
        let range = scores.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), score| {
            (low.min(score), high.max(score))
        });
        // Of a metric that is nowhere finite there is nothing to see.
        if range.0 <= range.1 {
            range
        } else {
            (0.0, 1.0)
        }
    }

    /// What every figure has to say of its scans; empty if nothing.
    fn note(&self) -> String {
        match self.differing.is_empty() {
            true => String::new(),
            false => format!(
                "These scans did not measure the same thing: {} not the same",
                match &self.differing[..] {
                    [one] => format!("{one} is"),
                    several => format!("{} are", several.join(", ")),
                }
            ),
        }
    }

    /// [`Scans::note`] after what this figure has to say.
    fn note_with(&self, explanation: &str) -> String {
        match self.note() {
            note if note.is_empty() => explanation.to_owned(),
            note => format!("{explanation}. {note}"),
        }
    }
}
