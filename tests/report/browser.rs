//! The page in a real browser: what is drawn, and what a person can do with it.

use serde_json::{Value, json};

use super::shown::{HEADS, LAYERS, Shown};
use super::{METRICS, Made, NASTY, Table};

/// serde_json may miss the nearest number by one unit in the last place.
#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 1e-15 * expected.abs().max(1.0),
            "{found} {expected}"
        );
    }
}

#[test]
fn everything_is_drawn_and_nothing_is_loaded() {
    let Some(shown) = Shown::pair() else { return };
    shown.is_quiet();
    assert_eq!(
        shown.browser.evaluate("typeof window.intruder"),
        "undefined"
    );
    let label = NASTY.replace('\u{2028}', " ");
    for place in ["h1", "#scans", "#statistics", "#distances", "#maps"] {
        let text = shown.text(place).replace('\u{2028}', " ");
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let label = label.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains(&label), "{place}: {squeezed}");
    }
    assert!(
        shown
            .text("#warnings")
            .contains("attention rows are not finite")
    );
    // Forty bins of each model; a heat map of each, with a cell for each head.
    assert_eq!(shown.count("#histogram .barlayer .point"), 80);
    let cells = "Array.from(document.querySelectorAll('.map-chart'), (map) => map.data[0].z.map((row) => row.length))";
    assert_eq!(shown.browser.evaluate(cells), json!([[4, 4, 4], [5, 5]]));
    assert_eq!(shown.count(".map-chart .heatmaplayer image"), 2);
    assert_eq!(shown.count("#scatter .scatterlayer .point"), 12 + 10);
    assert_eq!(shown.count("#statistics tbody tr"), 2);
    assert_eq!(shown.count("#distances tbody tr"), 3);
    assert!(shown.text("#heads-note").starts_with("22 of 22 heads"));
    // Every head is in the histogram, where its score is.
    let scores = shown.scores(0, "sparsity_score");
    let shares = shown
        .browser
        .evaluate("document.getElementById('histogram').data[0].y");
    for (bin, share) in shares.as_array().unwrap().iter().enumerate() {
        let in_bin = scores
            .iter()
            .filter(|&&score| (score * 40.0) as usize == bin);
        let expected = in_bin.count() as f64 / scores.len() as f64;
        assert!((share.as_f64().unwrap() - expected).abs() < 1e-12, "{bin}");
    }
    // The median of each layer.
    let medians = shown.browser.evaluate(
        "document.getElementById('layers').data.find((trace) => trace.mode === 'lines+markers').y",
    );
    for (layer, median) in medians.as_array().unwrap().iter().enumerate() {
        let mut own = scores[layer * HEADS..][..HEADS].to_vec();
        own.sort_by(f64::total_cmp);
        let expected = (own[1] + own[2]) / 2.0;
        assert!(
            (median.as_f64().unwrap() - expected).abs() < 1e-12,
            "{layer}"
        );
    }
    // Nothing sticks out, wide or narrow.
    for width in [1280, 700] {
        shown.browser.resize(width, 800);
        shown.browser.wait_for(&format!("innerWidth === {width}"));
        let wide = shown
            .browser
            .evaluate("document.documentElement.scrollWidth");
        assert_eq!(wide, width);
        shown.picture(&format!("report-{width}"));
    }
    shown.is_quiet();
}

#[test]
fn a_head_tells_its_numbers_and_is_pinned() {
    let Some(shown) = Shown::pair() else { return };
    let browser = &shown.browser;
    let (layer, head) = (2, 1);
    browser.hover(shown.cell(0, layer, head));
    browser.wait_for("!document.getElementById('tip').classList.contains('hidden')");
    let tip = shown.text("#tip");
    assert!(tip.contains("layer 2, head 1"), "{tip}");
    for (metric, _) in METRICS {
        let score = shown.scores(0, metric)[layer * HEADS + head];
        assert!(
            tip.contains(&format!("{score:.4}")),
            "{metric} {score}: {tip}"
        );
    }
    browser.hover(shown.cell(1, 1, 2));
    browser.wait_for("document.getElementById('tip').innerText.includes('rows not finite')");
    let broken = Table::read(&shown.heads(1)).column("non_finite_rows")[7];
    // Cells of a table are set apart by tabs.
    let tip = shown.text("#tip").replace(',', "");
    assert!(
        tip.contains(&format!("rows not finite\t{broken}")),
        "{tip:?}"
    );

    // A click pins, in every view.
    browser.click(shown.cell(0, layer, head));
    browser.wait_for("document.querySelectorAll('#pins .pin').length === 1");
    browser.evaluate("document.getElementById('distribution').scrollIntoView()");
    browser.wait_for("pinned.chart.isDrawn() && document.querySelectorAll('#distribution .scatterlayer .trace').length === 1");
    assert!(shown.text("#pins").contains("L2 H1"));
    let outlines = "[document.querySelectorAll('.map-chart')[0], document.getElementById('scatter')].map((chart) => chart.layout.shapes.length)";
    assert_eq!(browser.evaluate(outlines), json!([1, 1]));
    let scores = Table::read(&shown.world.path("scan0/samples.parquet"));
    let (layers, heads) = (scores.column("layer"), scores.column("head"));
    let (sums, tokens) = (scores.column("max_share_sum"), scores.column("tokens"));
    let own = (0..sums.len()).filter(|&row| (layers[row], heads[row]) == (2.0, 1.0));
    let own: Vec<f64> = own.map(|row| sums[row] / tokens[row]).collect();
    let (least, most) = own
        .iter()
        .fold((f64::MAX, f64::MIN), |(least, most), &score| {
            (least.min(score), most.max(score))
        });
    let numbers = shown.text("#pinned tbody");
    for score in [least, most] {
        assert!(
            numbers.contains(&format!("{score:.4}")),
            "{score}: {numbers}"
        );
    }
    let line = browser.evaluate("document.getElementById('distribution').data[0]");
    let ends = |at: usize| line["x"].as_array().unwrap()[at].as_f64().unwrap();
    let last = line["x"].as_array().unwrap().len() - 1;
    assert!((ends(0) - least).abs() < 1e-6 && (ends(last) - most).abs() < 1e-6);

    // A row of the table pins another one, by mouse and by keyboard.
    browser.click(browser.middle("#heads tr.row:not(.pinned)"));
    browser.wait_for("document.querySelectorAll('#pins .pin').length === 2");
    assert_eq!(shown.count("#heads tr.pinned"), 2);
    browser.press("ArrowDown");
    browser.press("Enter");
    browser.wait_for("state.pins.length !== 2");
    browser.click(browser.middle("#unpin"));
    browser.wait_for("document.querySelectorAll('#pins .pin').length === 0");
    assert_eq!(shown.count("#heads tr.pinned"), 0);
    // A point of the scatter does the same.
    browser.hover(browser.middle("#scatter .scatterlayer .trace:last-child .point"));
    browser.wait_for("!document.getElementById('tip').classList.contains('hidden')");
    browser.click_until(
        "#scatter .scatterlayer .trace:last-child .point",
        "state.pins.length === 1 && state.pins[0].scan === scans[1]",
    );
    shown.is_quiet();
}

#[test]
fn the_table_is_sorted_and_filtered() {
    let Some(shown) = Shown::pair() else { return };
    let browser = &shown.browser;
    let column = |at: usize| -> Vec<f64> {
        let rows = shown.rows();
        rows.iter().map(|row| row[at].parse().unwrap()).collect()
    };
    let all = |metric: &str| {
        let mut all = shown.scores(0, metric);
        all.extend(shown.scores(1, metric));
        all.sort_by(f64::total_cmp);
        let rounded = all
            .iter()
            .map(|score| format!("{score:.4}").parse::<f64>().unwrap());
        rounded.collect::<Vec<f64>>()
    };
    // Columns: model, layer, head, the metrics, rows that are not finite.
    let mut descending = all("sparsity_score");
    descending.reverse();
    assert_eq!(column(3), descending);
    browser.click(browser.middle("[data-column=entropy]"));
    let mut descending = all("entropy");
    descending.reverse();
    assert_eq!(column(6), descending);
    browser.press("Enter");
    assert_eq!(column(6), all("entropy"));
    let sorted =
        "document.querySelector('#heads th[aria-sort=ascending]').innerText.includes('entropy')";
    assert_eq!(browser.evaluate(sorted), true);

    shown.choose("#filter-model", "1");
    assert_eq!(shown.rows().len(), 10);
    assert!(shown.rows().iter().all(|row| row[0] == "b"));
    shown.choose("#filter-layer-low", "1");
    assert!(column(1).iter().all(|&layer| layer == 1.0) && shown.rows().len() == 5);
    browser.click(browser.middle("#filters button[type=reset]"));
    browser.wait_for("document.querySelectorAll('#heads tr.row').length === 22");
    let limit = all("sparsity_score")[15];
    shown.choose("#filter-low", &limit.to_string());
    let above = |score: &&f64| **score >= limit;
    let expected = [
        shown.scores(0, "sparsity_score"),
        shown.scores(1, "sparsity_score"),
    ]
    .concat();
    assert_eq!(shown.rows().len(), expected.iter().filter(above).count());
    browser.click(browser.middle("#filters button[type=reset]"));
    browser.click(browser.middle("#filter-text"));
    browser.type_text("L1 h2");
    browser.wait_for("document.querySelectorAll('#heads tr.row').length === 2");
    assert_eq!((column(1), column(2)), (vec![1.0; 2], vec![2.0; 2]));
    browser.click(browser.middle("#filters button[type=reset]"));
    browser.click(browser.middle("#filter-sinks"));
    let sinks = all("first_token_share")
        .iter()
        .filter(|&&share| share > 0.9)
        .count();
    assert_eq!(shown.rows().len(), sinks);

    // What is downloaded is what is shown, with all digits.
    shown.choose("#filter-sinks", "on");
    browser.evaluate("document.getElementById('filters').reset()");
    browser.wait_for("document.querySelectorAll('#heads tr.row').length === 22");
    let csv = browser.evaluate("heads.csv()");
    let lines: Vec<&str> = csv.as_str().unwrap().split("\r\n").collect();
    assert_eq!(
        lines[0],
        "model,layer,head,sparsity_score,max_weight,first_token_share,entropy,total_weight,non_finite_rows"
    );
    assert_eq!(lines.len(), 1 + 22 + 1);
    let mut entropies: Vec<f64> = lines[1..23]
        .iter()
        .map(|line| line.rsplit(',').nth(2).unwrap().parse().unwrap())
        .collect();
    entropies.sort_by(f64::total_cmp);
    let mut expected = [shown.scores(0, "entropy"), shown.scores(1, "entropy")].concat();
    expected.sort_by(f64::total_cmp);
    assert_eq!(entropies, expected);
    shown.is_quiet();
}

#[test]
fn metric_and_theme_are_switched() {
    let Some(shown) = Shown::pair() else { return };
    let browser = &shown.browser;
    let axis = || shown.text("#histogram .xtitle");
    assert_eq!(axis(), "Sparsity score");
    let before = shown.text("#statistics");
    browser.evaluate("scrollTo(0, 0)");
    shown.choose("#metric", "entropy");
    shown.settle();
    assert_eq!(axis(), "Entropy");
    assert_eq!(shown.text("#layers .ytitle"), "Entropy");
    assert!(shown.text("#maps-title").starts_with("Entropy"));
    let after = shown.text("#statistics");
    let mean = shown.scores(0, "entropy").iter().sum::<f64>() / (LAYERS * HEADS) as f64;
    assert!(
        after != before && after.contains(&format!("{mean:.4}")),
        "{after}"
    );
    let z = browser.evaluate("document.querySelector('.map-chart').data[0].z.flat()");
    let z: Vec<f64> = serde_json::from_value(z).unwrap();
    assert_close(&z, &shown.scores(0, "entropy"));
    // One colour scale for both.
    let limits = "Array.from(document.querySelectorAll('.map-chart'), (map) => [map.data[0].zmin, map.data[0].zmax])";
    let limits: Vec<Vec<f64>> = serde_json::from_value(browser.evaluate(limits)).unwrap();
    let both = [shown.scores(0, "entropy"), shown.scores(1, "entropy")].concat();
    let least = both.iter().copied().fold(f64::MAX, f64::min);
    let most = both.iter().copied().fold(f64::MIN, f64::max);
    assert_eq!(limits.len(), 2);
    limits
        .iter()
        .for_each(|found| assert_close(found, &[least, most]));
    // A metric that is the same everywhere.
    shown.choose("#metric", "total_weight");
    shown.settle();
    assert_eq!(axis(), "Total weight");

    let look = || -> Value {
        browser.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.card')).color,
              document.querySelector('#layers .ytitle').style.fill, document.querySelector('#layers .scatterlayer .point').style.fill]",
        )
    };
    let light = look();
    browser.click(browser.middle("#theme"));
    shown.settle();
    let dark = look();
    shown.picture("report-dark");
    for part in 0..4 {
        assert_ne!(light[part], dark[part]);
    }
    browser.press("Enter");
    shown.settle();
    assert_eq!(look(), light);
    shown.is_quiet();
}

#[test]
fn small_and_large_scans_are_shown() {
    let Some(shown) = Shown::of(&[Made::new("one head", [1, 1, 1], 1)]) else {
        return;
    };
    shown.is_quiet();
    assert_eq!(shown.rows().len(), 1);
    assert!(
        !shown
            .browser
            .evaluate("document.getElementById('distances').checkVisibility()")
            .as_bool()
            .unwrap()
    );
    shown.browser.click(shown.cell(0, 0, 0));
    shown.browser.wait_for("pinned.chart.isDrawn()");
    shown.is_quiet();

    let Some(shown) = Shown::of(&[
        Made::new("a", [80, 64, 2], 1),
        Made::new("b", [80, 64, 2], 2),
    ]) else {
        return;
    };
    assert!(
        shown
            .text("#heads-note")
            .starts_with("10,240 of 10,240 heads")
    );
    assert_eq!(shown.count("#scatter .scatterlayer .point"), 10_240);
    // Only those in view are elements.
    assert!(shown.rows().len() < 60);
    shown
        .browser
        .evaluate("document.getElementById('viewport').scrollTop = 1e9");
    shown.browser.wait_for(
        "document.querySelector('#heads tr.row:nth-last-child(2)').dataset.place === '10239'",
    );
    shown.browser.click(shown.cell(1, 79, 63));
    shown
        .browser
        .wait_for("state.pins.length === 1 && state.pins[0].row === 5119");
    shown.is_quiet();
}

#[test]
fn heads_alone_are_said_to_have_no_distribution() {
    let Some(shown) = Shown::of(&[Made::new("a", [2, 2, 3], 1)]) else {
        return;
    };
    let arguments = ["report", "scan0/heads.parquet", "--out", "heads.html"];
    shown.world.run(&arguments).succeeds();
    shown.browser.open(&shown.world.path("heads.html"));
    shown.settle();
    shown.browser.click(shown.cell(0, 1, 1));
    shown.browser.wait_for(
        "document.getElementById('pinned-note').innerText.includes('no samples.parquet')",
    );
    assert_eq!(
        shown.text("#pinned tbody").split_whitespace().last(),
        Some("–")
    );
    shown.is_quiet();
}
