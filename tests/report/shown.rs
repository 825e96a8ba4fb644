//! A report in a browser, as the tests of the page see it.

use std::path::PathBuf;

use serde_json::json;

use super::{Made, NASTY, QUICK, Table};
use crate::cli::World;
use crate::support::browser::{Browser, FRAME};

/// A report in a browser, with the scans that it is of.
pub struct Shown {
    pub browser: Browser,
    pub world: World,
}

/// Of the first scan.
pub const LAYERS: usize = 3;
pub const HEADS: usize = 4;

impl Shown {
    /// `None` where there is no browser.
    pub fn of(scans: &[Made<'_>]) -> Option<Self> {
        let browser = Browser::start(1280, 800)?;
        let world = World::new();
        let mut arguments = vec!["report", "--out", "r.html"];
        arguments.extend(QUICK);
        let names: Vec<String> = (0..scans.len()).map(|i| format!("scan{i}")).collect();
        for (scan, name) in scans.iter().zip(&names) {
            scan.write(&world.path(name));
            arguments.push(name);
        }
        let finished = world.run(&arguments);
        assert!([Some(0), Some(6)].contains(&finished.code), "{finished}");
        browser.prefer("light");
        browser.open(&world.path("r.html"));
        let shown = Self { browser, world };
        shown.settle();
        Some(shown)
    }

    /// A pair with a nasty name and rows that were not finite.
    pub fn pair() -> Option<Self> {
        Self::of(&[
            Made::new(NASTY, [LAYERS, HEADS, 120], 1),
            Made {
                non_finite: Some((1, 2)),
                ..Made::new("b", [2, 5, 120], 2)
            },
        ])
    }

    /// Scrolls through the page, so that every chart has been in view, and waits for them.
    pub fn settle(&self) {
        self.browser.evaluate(
            "page.charts.then(async () => { for (let y = 0; y < document.body.scrollHeight; y += 300) {
               scrollTo(0, y); await new Promise((done) => setTimeout(done, 40)); } })",
        );
        self.browser.wait_for(
            "[histogram.chart, layers.chart, scatter.chart, ...maps.charts].every((chart) => chart.isDrawn())",
        );
    }

    /// A picture of the view in the directory `$ATTNSCOPE_SCREENSHOTS`, for whoever wants to look.
    pub fn picture(&self, name: &str) {
        if let Some(dir) = std::env::var_os("ATTNSCOPE_SCREENSHOTS") {
            let path = PathBuf::from(dir).join(format!("{name}.png"));
            self.browser.screenshot(&path, true);
        }
    }

    pub fn scores(&self, scan: usize, metric: &str) -> Vec<f64> {
        Table::read(&self.heads(scan)).column(metric)
    }

    pub fn heads(&self, scan: usize) -> PathBuf {
        self.world.path(&format!("scan{scan}/heads.parquet"))
    }

    pub fn text(&self, selector: &str) -> String {
        let text = self.browser.evaluate(&format!(
            "(({{ innerText, textContent }}) => innerText ?? textContent)(document.querySelector({}))",
            json!(selector)
        ));
        text.as_str().unwrap().to_owned()
    }

    pub fn count(&self, selector: &str) -> u64 {
        let count = self.browser.evaluate(&format!(
            "document.querySelectorAll({}).length",
            json!(selector)
        ));
        count.as_u64().unwrap()
    }

    /// Where the cell of a head is.
    pub fn cell(&self, scan: usize, layer: usize, head: usize) -> (f64, f64) {
        let place = self.browser.evaluate(&format!(
            "(async () => {{ const map = document.querySelectorAll('.map-chart')[{scan}];
               map.scrollIntoView({{ block: 'center' }}); {FRAME}
               const {{ x, y }} = map.getBoundingClientRect(); const {{ xaxis, yaxis }} = map._fullLayout;
               return [x + xaxis._offset + xaxis.d2p({head}), y + yaxis._offset + yaxis.d2p({layer})]; }})()"
        ));
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    /// The table's rows as they stand, cell by cell.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.browser.evaluate(
            "Array.from(document.querySelectorAll('#heads tr.row'), (row) => Array.from(row.cells, (cell) => cell.innerText))",
        );
        serde_json::from_value(rows).unwrap()
    }

    /// Chooses in a select, or sets a field, as a person does.
    pub fn choose(&self, selector: &str, value: &str) {
        self.browser.evaluate(&format!(
            "(() => {{ const e = document.querySelector({}); e.focus(); e.value = {};
               for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()",
            json!(selector),
            json!(value)
        ));
    }

    #[track_caller]
    pub fn is_quiet(&self) {
        assert_eq!(self.browser.complaints(), [""; 0]);
        assert_eq!(self.browser.requests(), [""; 0]);
    }
}
