//! A comparison as tables for a person.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::compare::{
    Comparison, Deals, Distance, DistanceEstimate, Estimate, Metric, SINK, ScanComparison,
    ScanSummary, Statistic,
};

/// Longer labels stand for themselves once, and for a letter in the tables.
const LONGEST_LABEL: usize = 24;

/// What the tables say, from the scans' headings to the remarks.
pub fn to_text(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = Tables::new(comparison).write(&mut text);
    text
}

struct Tables<'a> {
    comparison: &'a Comparison,
    /// The scans' names in the tables, by label.
    names: BTreeMap<&'a str, String>,
    width: usize,
}

impl<'a> Tables<'a> {
    fn new(comparison: &'a Comparison) -> Self {
        let labels = || comparison.scans.iter().map(|scan| scan.label.as_str());
        let is_long = labels().any(|label| label.chars().count() > LONGEST_LABEL);
        let name = |(at, label): (usize, &'a str)| match is_long {
            true => (label, letters(at)),
            false => (label, label.to_owned()),
        };
        let names: BTreeMap<&str, String> = labels().enumerate().map(name).collect();
        let width = names.values().map(|name| name.chars().count()).max();
        Self {
            comparison,
            width: width.unwrap_or(0),
            names,
        }
    }

    fn name(&self, label: &'a str) -> &str {
        self.names.get(label).map_or(label, String::as_str)
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let comparison = self.comparison;
        for scan in &comparison.scans {
            self.heading(text, scan)?;
        }
        let metrics = comparison.scans.iter().flat_map(|scan| scan.metrics.keys());
        let metrics: BTreeSet<Metric> = metrics.copied().collect();
        for metric in metrics {
            self.statistics(text, metric)?;
        }
        for pair in &comparison.comparisons {
            self.distances(text, pair)?;
        }
        writeln!(text, "\nsink heads (first-token share > {SINK})")?;
        for scan in &comparison.scans {
            let name = self.name(&scan.label);
            writeln!(text, "  {name}: {} of {}", scan.sink_heads, scan.heads)?;
        }
        self.notes(text)?;
        if !comparison.differences.is_empty() {
            writeln!(text, "\nthese scans did not measure the same thing")?;
            for difference in &comparison.differences {
                writeln!(text, "  {difference}")?;
            }
        }
        if !comparison.remarks.is_empty() {
            writeln!(text, "\nremarks")?;
            for remark in &comparison.remarks {
                writeln!(text, "  {remark}")?;
            }
        }
        Ok(())
    }

    fn heading(&self, text: &mut String, scan: &ScanSummary) -> std::fmt::Result {
        let name = self.name(&scan.label);
        if name != scan.label {
            write!(text, "{name} = ")?;
        }
        let known = [&scan.model.attention_function, &scan.model.dtype];
        write!(text, "{} (", scan.label)?;
        for fact in known.into_iter().flatten() {
            write!(text, "{fact}, ")?;
        }
        write!(text, "{})", scan.shape)?;
        if let Some(dataset) = scan.facts.get("dataset") {
            write!(text, " on {dataset}")?;
        }
        write!(text, ": {} samples, {} tokens", scan.samples, scan.tokens)?;
        if let Some(longest) = scan.facts.get("max_seq_len") {
            write!(text, ", at most {longest} of a text")?;
        }
        writeln!(text)
    }

    fn statistics(&self, text: &mut String, metric: Metric) -> std::fmt::Result {
        let scans = &self.comparison.scans;
        let values = scans
            .iter()
            .filter_map(|scan| scan.metrics.get(&metric))
            .flat_map(|statistics| statistics.values().map(|estimate| estimate.value));
        let digits = Digits::of(values);
        let (width, number, interval) = (self.width, digits.width(), digits.interval_width());
        let measures = scans.first().map(|scan| scan.measures).unwrap_or_default();
        let parameters = metric.parameters(&measures);
        writeln!(text, "\n{}{parameters}", metric.description())?;
        write!(text, "{:width$}  heads", "")?;
        write!(
            text,
            "  {:>number$}  {:>interval$}",
            "mean", "95 % interval"
        )?;
        for quantile in ["median", "5 %", "25 %", "75 %", "95 %"] {
            write!(text, "  {quantile:>number$}")?;
        }
        if metric.has_thresholds() {
            write!(text, "   > 0.5   > 0.9")?;
        }
        writeln!(text)?;
        for scan in scans {
            let name = self.name(&scan.label);
            write!(text, "{name:width$}  {:>5}", scan.heads)?;
            for (statistic, estimate) in scan.metrics.get(&metric).into_iter().flatten() {
                match statistic {
                    Statistic::ShareAbove05 | Statistic::ShareAbove09 => {
                        write!(text, "  {:>5.1}%", 100.0 * estimate.value)?;
                    }
                    _ => write!(text, "  {:>number$}", digits.show(estimate.value))?,
                }
                if *statistic == Statistic::Mean {
                    write!(text, "  {:>interval$}", digits.interval(estimate))?;
                }
            }
            writeln!(text)?;
        }
        Ok(())
    }

    fn distances(&self, text: &mut String, pair: &ScanComparison) -> std::fmt::Result {
        let [scan, reference] = [&pair.scan, &pair.reference].map(|label| self.name(label));
        writeln!(text, "\n{scan} against {reference}")?;
        let names = pair.metrics.keys().map(|metric| metric.name().len());
        let name = names.max().unwrap_or(0);
        writeln!(
            text,
            "{:name$}  {:20}  {:>9}  {:>22}  {:>8}  {:>15}",
            "", "", "", "95 % interval", "p", "p within layers"
        )?;
        for (metric, distances) in &pair.metrics {
            let values = distances.values().map(|found| found.estimate.value);
            let digits = Digits::of(values);
            for (at, (&distance, found)) in distances.iter().enumerate() {
                let metric = if at == 0 { metric.name() } else { "" };
                write!(text, "{metric:name$}  ")?;
                write_distance(text, distance, found, digits)?;
            }
        }
        Ok(())
    }

    /// How the numbers came about, and how not to read them.
    fn notes(&self, text: &mut String) -> std::fmt::Result {
        let comparison = self.comparison;
        let intervals = || {
            let scans = comparison
                .scans
                .iter()
                .flat_map(|scan| scan.metrics.values());
            scans.flat_map(|statistics| statistics.values())
        };
        if intervals().any(|estimate| estimate.low.is_some()) {
            writeln!(
                text,
                "95 % intervals: {} resamples of the texts; those of Wasserstein-1 and D lie too high where scans hardly \
                 differ",
                comparison.resamples
            )?;
        }
        let deals = |deals: Deals| match deals.exact {
            true => format!("all {} permutations of heads", deals.count),
            false => format!("{} permutations of heads", deals.count),
        };
        let mut told: Vec<String> = Vec::new();
        for pair in &comparison.comparisons {
            let Some(over_all) = pair.permutations else {
                continue;
            };
            let mut note = format!("p: {}", deals(over_all));
            if let Some(within) = pair.permutations_within_layers {
                note += &format!(", within layers {}", deals(within));
            }
            if !told.contains(&note) {
                told.push(note);
            }
        }
        for note in &told {
            writeln!(text, "{note}")?;
        }
        if !told.is_empty() {
            writeln!(
                text,
                "heads of one model are not independent, and p is not adjusted for the number of metrics: read it with care"
            )?;
        }
        Ok(())
    }
}

fn write_distance(
    text: &mut String,
    distance: Distance,
    found: &DistanceEstimate,
    digits: Digits,
) -> std::fmt::Result {
    let (name, digits) = match distance {
        Distance::MeanDifference => ("difference of means", digits),
        Distance::Wasserstein => ("Wasserstein-1", digits),
        // D is a share, whatever the metric is.
        Distance::KolmogorovSmirnov => ("Kolmogorov–Smirnov D", Digits::Fixed(4)),
    };
    writeln!(
        text,
        "{name:20}  {:>9}  {:>22}  {:>8}  {:>15}",
        digits.show(found.estimate.value),
        digits.interval(&found.estimate),
        p_value(found.p_value),
        p_value(found.p_value_within_layers)
    )
}

/// A, B, …, Z, AA, AB, …
fn letters(at: usize) -> String {
    let last = char::from(b'A' + (at % 26) as u8);
    match at / 26 {
        0 => last.to_string(),
        more => letters(more - 1) + &last.to_string(),
    }
}

/// How numbers that belong together are written, so that the largest has four digits at least.
#[derive(Clone, Copy)]
enum Digits {
    /// So many behind the point.
    Fixed(usize),
    /// As `1.23e-7`.
    Exponent,
}

impl Digits {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let finite = values.filter(|value| value.is_finite());
        match finite.fold(0.0, |most: f64, value| most.max(value.abs())) {
            most if most >= 1e6 => Digits::Exponent,
            most if most >= 1000.0 => Digits::Fixed(1),
            most if most >= 100.0 => Digits::Fixed(2),
            most if most >= 10.0 => Digits::Fixed(3),
            most if most >= 0.01 || most == 0.0 => Digits::Fixed(4),
            most if most >= 1e-4 => Digits::Fixed(6),
            _ => Digits::Exponent,
        }
    }

    fn width(self) -> usize {
        match self {
            Digits::Fixed(decimals) => (decimals + 3).max(7),
            Digits::Exponent => 8,
        }
    }

    fn interval_width(self) -> usize {
        2 * self.width() + 2
    }

    fn show(self, value: f64) -> String {
        match self {
            Digits::Fixed(decimals) => format!("{value:.decimals$}"),
            Digits::Exponent => format!("{value:.2e}"),
        }
    }

    fn interval(self, estimate: &Estimate) -> String {
        match (estimate.low, estimate.high) {
            (Some(low), Some(high)) => format!("{} … {}", self.show(low), self.show(high)),
            _ => "–".into(),
        }
    }
}

fn p_value(p: Option<f64>) -> String {
    match p {
        Some(p) if p < 5e-5 => format!("{p:.1e}"),
        Some(p) => format!("{p:.4}"),
        None => "–".into(),
    }
}
