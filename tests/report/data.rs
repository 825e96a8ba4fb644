//! The numbers in the page, against the parquet files and the comparison.

use std::collections::BTreeMap;
use std::path::Path;

use attnscope::report::{BINS, QUANTILES};
use serde_json::Value;

use super::{METRICS, Made, NASTY, QUICK, Table, numbers, page_data};
use crate::cli::World;
use crate::support::browser::Browser;

#[test]
fn the_page_says_what_the_tables_and_the_comparison_say() {
    let world = World::new();
    Made {
        non_finite: Some((1, 2)),
        ..Made::new("a", [3, 4, 70], 1)
    }
    .write(&world.path("a"));
    Made::new("b", [2, 5, 70], 2).write(&world.path("b"));
    let mut arguments = vec!["report", "a", "b", "--out", "deep/down/r.html", "--json"];
    arguments.extend(QUICK);
    let reported = world.run(&arguments).ends(6).json();
    let mut arguments = vec!["compare", "a", "b", "--json"];
    arguments.extend(QUICK);
    let compared = world.run(&arguments).ends(6).json();
    assert_eq!(reported, compared);

    let data = page_data(&world.path("deep/down/r.html"));
    assert_eq!(data["comparison"], compared);
    let names = data["metrics"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, METRICS.map(|(name, _)| name));
    for (scan, name) in data["scans"].as_array().unwrap().iter().zip(["a", "b"]) {
        check_heads(scan, &world.path(name));
        check_samples(scan, &world.path(name));
        assert_eq!(scan["facts"]["model"], name);
        assert_eq!(scan["facts"]["max_seq_len"], "64");
    }
}

fn check_heads(scan: &Value, out: &Path) {
    let table = Table::read(&out.join("heads.parquet"));
    let heads = &scan["heads"];
    for name in ["layer", "head", "non_finite_rows"] {
        assert_eq!(numbers(&heads[name]), table.column(name), "{name}");
    }
    assert_eq!(heads["scores"].as_object().unwrap().len(), METRICS.len());
    for (name, _) in METRICS {
        assert_eq!(
            numbers(&heads["scores"][name]),
            table.column(name),
            "{name}"
        );
    }
}

/// Every head's distribution over the samples, counted anew.
fn check_samples(scan: &Value, out: &Path) {
    let table = Table::read(&out.join("samples.parquet"));
    let (layers, heads) = (table.column("layer"), table.column("head"));
    let (tokens, broken) = (table.column("tokens"), table.column("non_finite_rows"));
    assert_eq!(scan["samples"]["count"], 70);
    for (metric, sum) in METRICS {
        let sums = table.column(sum);
        let mut scores: BTreeMap<(i64, i64), Vec<f64>> = BTreeMap::new();
        for row in 0..sums.len() {
            let of_head = scores
                .entry((layers[row] as i64, heads[row] as i64))
                .or_default();
            if tokens[row] > broken[row] {
                of_head.push(sums[row] / (tokens[row] - broken[row]));
            }
        }
        let found = &scan["samples"]["metrics"][metric];
        let (quantiles, counts) = (numbers(&found["quantiles"]), numbers(&found["counts"]));
        assert_eq!(quantiles.len(), scores.len() * QUANTILES.len());
        assert_eq!(counts.len(), scores.len() * BINS);
        for (at, scores) in scores.values_mut().enumerate() {
            scores.sort_by(f64::total_cmp);
            let quantiles = &quantiles[at * QUANTILES.len()..][..QUANTILES.len()];
            for (&q, &found) in QUANTILES.iter().zip(quantiles) {
                let position = q * (scores.len() - 1) as f64;
                let (below, part) = (position.floor() as usize, position.fract());
                let above = scores[(below + 1).min(scores.len() - 1)];
                let expected = (1.0 - part) * scores[below] + part * above;
                assert!(
                    (found - expected).abs() <= 1e-6 * expected,
                    "{metric} {at} {q}"
                );
            }
            let counts = &counts[at * BINS..][..BINS];
            assert_eq!(counts.iter().sum::<f64>(), scores.len() as f64);
            let (low, high) = (scores[0], scores[scores.len() - 1]);
            let mut seen = 0.0;
            for (bin, count) in (1..BINS).zip(counts) {
                seen += count;
                // Rounding may move a score across an edge that it lies on.
                let edge = low + (high - low) * bin as f64 / BINS as f64;
                let before =
                    |edge: f64| scores.iter().filter(|&&score| score < edge).count() as f64;
                let slack = 1e-12 * high;
                let (least, most) = (before(edge - slack), before(edge + slack));
                let is_flat = high - low <= slack;
                assert!(
                    is_flat || (least..=most).contains(&seen),
                    "{metric} {at} {bin}"
                );
            }
        }
    }
}

#[test]
fn a_scan_alone_and_heads_alone_are_enough() {
    let world = World::new();
    Made::new("a", [1, 1, 3], 1).write(&world.path("a"));
    let mut arguments = vec!["report", "a", "--out", "one.html"];
    arguments.extend(QUICK);
    let said = world.run(&arguments).succeeds();
    assert_eq!(said.stdout, "one.html\n");
    assert!(said.stderr.ends_with(" INFO one.html written\n"), "{said}");
    let data = page_data(&world.path("one.html"));
    assert_eq!(data["comparison"]["comparisons"], serde_json::json!([]));
    let mean = &data["comparison"]["scans"][0]["metrics"]["sparsity_score"]["mean"];
    let score = Table::read(&world.path("a/heads.parquet")).column("sparsity_score")[0];
    assert!((mean["value"].as_f64().unwrap() - score).abs() < 1e-15);
    assert!(mean["low"].is_f64());

    let heads = ["report", "a/heads.parquet", "--out", "heads.html"];
    let said = world.run(&heads).succeeds();
    assert!(said.stderr.contains("has no samples, only heads"), "{said}");
    let data = page_data(&world.path("heads.html"));
    assert!(data["scans"][0]["samples"].is_null());
    assert_eq!(
        numbers(&data["scans"][0]["heads"]["scores"]["sparsity_score"]),
        [score]
    );
}

#[test]
fn a_metric_of_one_scan_is_shown_and_not_compared() {
    let world = World::new();
    let measured = ["--metrics", "top_k_share", "--out", "more"];
    world.scan(&measured).succeeds();
    world.scan(&["--out", "less"]).succeeds();
    let mut arguments = vec!["report", "more", "less", "--out", "r.html"];
    arguments.extend(QUICK);
    world.run(&arguments).succeeds();
    let data = page_data(&world.path("r.html"));
    let last = data["metrics"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["name"], &last["label"]),
        (&"top_k_share".into(), &"top-k share".into())
    );
    let scores = &data["scans"][0]["heads"]["scores"];
    let expected = Table::read(&world.path("more/heads.parquet")).column("top_k_share");
    assert_eq!(numbers(&scores["top_k_share"]), expected);
    let distribution = &data["scans"][0]["samples"]["metrics"]["top_k_share"];
    assert_eq!(
        numbers(&distribution["counts"]).len(),
        expected.len() * BINS
    );
    assert!(
        data["scans"][1]["heads"]["scores"]
            .get("top_k_share")
            .is_none()
    );
    assert!(
        data["comparison"]["scans"][0]["metrics"]
            .get("top_k_share")
            .is_none()
    );

    let Some(browser) = Browser::start(1280, 800) else {
        return;
    };
    browser.open(&world.path("r.html"));
    browser.wait_for("histogram.chart.isDrawn()");
    browser.evaluate("chooseMetric('top_k_share')");
    browser.wait_for("histogram.chart.isDrawn()");
    let said =
        "document.getElementById('definition').innerText.includes('it is shown, but not compared')";
    assert_eq!(browser.evaluate(said), true);
    assert_eq!(
        browser.evaluate("document.querySelectorAll('#histogram .barlayer .point').length"),
        40
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn names_stay_data() {
    let world = World::new();
    Made::new(NASTY, [1, 2, 3], 1).write(&world.path("a"));
    world.run(&["report", "a", "--out", "r.html"]).succeeds();
    let html = std::fs::read_to_string(world.path("r.html")).unwrap();
    // Data, our program, the library, and the line that hands it over.
    assert_eq!(html.matches("<script").count(), 4);
    assert_eq!(html.matches("</script").count(), 4);
    assert!(!html.contains("<!-- ") && !html.contains("window.intruder = 1</script>"));
    let data = page_data(&world.path("r.html"));
    assert_eq!(data["comparison"]["scans"][0]["label"], NASTY);
    // No address outside that a browser would load by itself.
    for loader in ["src=\"http", "href=\"http", "@import", "url(http"] {
        let ours = html.split("<script>").next().unwrap();
        assert!(!ours.contains(loader), "{loader}");
    }
}
