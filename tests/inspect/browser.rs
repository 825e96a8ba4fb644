//! The page in a real browser, where there is one.

use std::fs;

use attnscope::inspect::Request;
use serde_json::{Value, json};

use super::{TableHead, request, row, run, table, words};
use crate::support::{browser::Browser, gala};

const DRAWN: &str = "heatMap.isDrawn() && current && current.index === chosen()";

/// Cells as the page has them. A weight is a float32, and the decimal digits of its value lead back to it.
fn float32(value: &Value) -> Option<f32> {
    value.as_f64().map(|value| value as f32)
}

fn cells(browser: &Browser) -> Vec<Vec<Option<f32>>> {
    let z = browser.evaluate("page.byId('map').data[0].z");
    let rows = z.as_array().unwrap().iter();
    rows.map(|row| row.as_array().unwrap().iter().map(float32).collect())
        .collect()
}

/// The weight of one place of a table.
fn weight(table: &[TableHead], layer: usize, head: usize, query: usize, key: usize) -> f64 {
    let of = table.iter().find(|of| (of.layer, of.head) == (layer, head));
    f64::from(row(&of.unwrap().weights, query)[key])
}

/// Where a query and a key are in the view, if the map is drawn.
fn place(browser: &Browser, query: usize, key: usize) -> (f64, f64) {
    let place = browser.evaluate(&format!(
        "(() => {{
           const map = page.byId('map');
           map.scrollIntoView({{ block: 'center' }});
           const box = map.getBoundingClientRect();
           const {{ xaxis, yaxis }} = map._fullLayout;
           return [box.x + xaxis._offset + xaxis.d2p({key}), box.y + yaxis._offset + yaxis.d2p({query})];
         }})()"
    ));
    (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
}

/// What the hover label says.
fn label(browser: &Browser, query: usize, key: usize) -> String {
    // Away first, so that the label is a new one.
    browser.hover((2.0, 2.0));
    browser.wait_for("!document.querySelector('#map .hoverlayer .hovertext')");
    browser.hover(place(browser, query, key));
    browser.wait_for("document.querySelector('#map .hoverlayer .hovertext')");
    let lines = "Array.from(document.querySelectorAll('#map .hovertext tspan.line'), (line) => line.textContent).join('\\n')";
    browser.evaluate(lines).as_str().unwrap().to_owned()
}

/// The page's four digits.
fn digits(browser: &Browser, value: f64) -> String {
    let text = browser.evaluate(&format!("digits({value:e})"));
    text.as_str().unwrap().to_owned()
}

#[test]
fn a_short_text() {
    let Some(browser) = Browser::start(1280, 900) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let model = &gala::write_to(dir.path()).models[1];
    let text = format!(
        "{} <b>&amp; <script>alert(1)</script>\n\"end\" — é",
        words(25)
    );
    let outcome = run(&request(model, &text, dir.path()));
    let table = table(&dir.path().join("weights.parquet"));
    browser.open(&dir.path().join("page.html"));
    browser.wait_for(DRAWN);

    // It opens with the sparsest head.
    let score = |head: &attnscope::inspect::Head| head.sums.means().sparsity_score;
    let sparsest = outcome
        .heads
        .iter()
        .max_by(|a, b| score(a).total_cmp(&score(b)))
        .unwrap();
    let title = "page.byId('map-title').textContent";
    let named = |layer, head| json!(format!("Layer {layer}, head {head}"));
    assert_eq!(
        browser.evaluate(title),
        named(sparsest.layer, sparsest.head)
    );

    // Every cell is the table's weight, and the upper triangle is empty.
    browser.evaluate("page.byId('linear').click()");
    for (layer, head) in [(sparsest.layer, sparsest.head), (3, 2)] {
        browser.evaluate(&format!("choose({layer}, {head})"));
        browser.wait_for(DRAWN);
        assert_eq!(browser.evaluate(title), named(layer, head));
        let found = cells(&browser);
        assert_eq!(found.len(), outcome.tokens);
        for (query, found) in found.iter().enumerate() {
            for (key, found) in found.iter().enumerate() {
                let expected =
                    (key <= query).then(|| weight(&table, layer, head, query, key) as f32);
                assert_eq!(*found, expected, "query {query}, key {key}");
            }
        }
    }

    // The hover label names the tokens and has the weight, of a text that looks like HTML, too.
    let (query, key) = (outcome.tokens - 2, outcome.tokens - 9);
    let said = label(&browser, query, key);
    let token = |i: usize| {
        browser
            .evaluate(&format!("facts.tokens[{i}]"))
            .as_str()
            .unwrap()
            .to_owned()
    };
    let value = weight(&table, 3, 2, query, key);
    assert!(
        said.contains(&format!("query {query} {}", token(query))),
        "{said}"
    );
    assert!(
        said.contains(&format!("key {key} {}", token(key))),
        "{said}"
    );
    assert!(
        said.contains(&format!("weight {}", digits(&browser, value))),
        "{said}"
    );
    let total: f64 = (0..=query)
        .map(|key| weight(&table, 3, 2, query, key))
        .sum();
    assert!(
        said.contains(&format!("of the total {}", digits(&browser, total))),
        "{said}"
    );

    // The text below stands there as it is, and shows the row of the token that is pointed at.
    let shown = browser.evaluate("page.byId('tokens').textContent");
    assert!(shown.as_str().unwrap().contains("pt>alert(1)"), "{shown}");
    browser.hover(browser.middle(&format!("#tokens span[data-i='{query}']")));
    browser.wait_for(&format!("pointed === {query}"));
    let at = |i: usize| {
        browser.evaluate(&format!(
            "Number(tokens[{i}].style.getPropertyValue('--w'))"
        ))
    };
    let top = (0..=query)
        .map(|key| weight(&table, 3, 2, query, key))
        .fold(0.0, f64::max);
    for key in [0, key, query] {
        let expected = weight(&table, 3, 2, query, key) / top;
        assert!(
            (at(key).as_f64().unwrap() - expected).abs() < 1e-3,
            "key {key}"
        );
    }
    let line = browser.evaluate("page.byId('row').textContent");
    assert!(
        line.as_str().unwrap().contains(&digits(&browser, top)),
        "{line}"
    );
    // The other way: who looks at it.
    browser.click(browser.middle("#incoming"));
    browser.hover(browser.middle(&format!("#tokens span[data-i='{key}']")));
    browser.wait_for(&format!("pointed === {key}"));
    let top = (key..outcome.tokens)
        .map(|query| weight(&table, 3, 2, query, key))
        .fold(0.0, f64::max);
    let expected = weight(&table, 3, 2, query, key) / top;
    assert!((at(query).as_f64().unwrap() - expected).abs() < 1e-3);
    assert_eq!(
        browser.evaluate("tokens[0].classList.contains('blind')"),
        true
    );

    // The keyboard chooses a head; every cell of the map is another, also as it is seen.
    let picture = |name: &str| {
        let path = dir.path().join(name);
        browser.screenshot(&path, true);
        fs::read(path).unwrap()
    };
    let before = (cells(&browser), picture("before.png"));
    browser.evaluate("choose(1, 1); page.byId('picker').focus()");
    browser.press("ArrowRight");
    browser.press("ArrowDown");
    browser.wait_for(DRAWN);
    assert_eq!(browser.evaluate(title), named(2, 2));
    assert!(cells(&browser) != before.0 && picture("after.png") != before.1);
    assert_eq!(
        browser.evaluate("[page.byId('layer').value, page.byId('head').value]"),
        json!(["2", "2"])
    );
    let numbers = browser.evaluate("page.byId('numbers').textContent");
    let means = outcome.heads[2 * 6 + 2].sums.means();
    for number in [means.sparsity_score, means.total_weight, means.entropy] {
        assert!(
            numbers
                .as_str()
                .unwrap()
                .contains(&digits(&browser, number)),
            "{numbers}"
        );
    }
    // So do the small pictures, of which there is one for each head.
    assert_eq!(
        browser.evaluate("document.querySelectorAll('#thumbnails canvas').length"),
        6
    );
    browser.click(browser.middle("#thumbnails button:nth-child(6)"));
    browser.wait_for(DRAWN);
    assert_eq!(browser.evaluate(title), named(2, 5));

    // The logarithmic scale is that of the same weights.
    browser.evaluate("page.byId('log').click()");
    let z = browser
        .evaluate("page.byId('map').data[0].z[5][0]")
        .as_f64()
        .unwrap();
    let top = f64::from(outcome.heads[2 * 6 + 5].largest).log10();
    let expected = weight(&table, 2, 5, 5, 0).log10().max(top - 5.0);
    assert!((z - expected).abs() < 1e-9, "{z} {expected}");

    // Dark is another page, and a narrow one no wider than the window.
    let look = "getComputedStyle(document.body).backgroundColor";
    let light = browser.evaluate(look);
    browser.click(browser.middle("#theme"));
    assert_ne!(browser.evaluate(look), light);
    browser.resize(700, 900);
    browser.wait_for("document.documentElement.scrollWidth <= 700");

    assert_eq!(browser.complaints(), [""; 0]);
    assert_eq!(browser.requests(), [""; 0]);
}

#[test]
fn two_thousand_tokens() {
    let Some(browser) = Browser::start(1280, 900) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let model = &gala::write_to(dir.path()).models[0];
    let text = [words(2500), words(2500)].join(" ");
    // Room for some of the heads.
    let request = Request {
        max_page_bytes: 30 << 20,
        layers: "0,2".parse().unwrap(),
        ..request(model, &text, dir.path())
    };
    let outcome = run(&request);
    assert_eq!((outcome.tokens, outcome.block), (2048, 8));
    let table = table(&dir.path().join("weights.parquet"));
    browser.open(&request.out);
    browser.wait_for(DRAWN);
    let exact = |is_exact: bool| {
        outcome
            .heads
            .iter()
            .find(|head| head.is_exact == is_exact)
            .unwrap()
    };

    // The whole map is maxima of 8 × 8, and says so.
    let head = exact(true);
    let position = |head: &attnscope::inspect::Head| (head.layer / 2, head.head);
    let choose = |head: &attnscope::inspect::Head| {
        let (layer, at) = position(head);
        browser.evaluate(&format!("choose({layer}, {at})"));
        browser.wait_for(DRAWN);
    };
    choose(head);
    browser.evaluate("page.byId('linear').click()");
    let resolution = "page.byId('resolution').textContent";
    let said = browser.evaluate(resolution);
    assert!(
        said.as_str()
            .unwrap()
            .contains("the largest weight of 8 × 8"),
        "{said}"
    );
    assert_eq!(browser.evaluate("page.byId('map').data[0].z.length"), 256);
    let cell =
        |q: usize, k: usize| browser.evaluate(&format!("page.byId('map').data[0].z[{q}][{k}]"));
    let (layer, at) = (head.layer, head.head);
    for (q, k) in [(0, 0), (100, 99), (255, 255), (255, 0)] {
        let weights = (8 * q..8 * q + 8)
            .flat_map(|query| (8 * k..(8 * k + 8).min(query + 1)).map(move |key| (query, key)));
        let max = weights
            .map(|(query, key)| weight(&table, layer, at, query, key))
            .fold(0.0, f64::max);
        assert_eq!(float32(&cell(q, k)), Some(max as f32), "cell {q}, {k}");
    }
    assert_eq!(cell(3, 4), Value::Null);

    // A part that is dragged over shows every weight, exactly.
    browser.drag(place(&browser, 1000, 960), place(&browser, 1100, 1080));
    browser.wait_for("shown.q1 - shown.q0 < 200 && heatMap.isDrawn()");
    let said = browser.evaluate(resolution);
    assert!(
        said.as_str().unwrap().contains("one weight, exactly"),
        "{said}"
    );
    let window = browser.evaluate("shown");
    let [q0, q1, k0, k1] =
        ["q0", "q1", "k0", "k1"].map(|end| window[end].as_u64().unwrap() as usize);
    assert!(
        (990..1010).contains(&q0) && (1090..1110).contains(&q1),
        "{window}"
    );
    let z = cells(&browser);
    assert_eq!((z.len(), z[0].len()), (q1 - q0, k1 - k0));
    for (i, row) in z.iter().enumerate() {
        for (j, found) in row.iter().enumerate() {
            let (query, key) = (q0 + i, k0 + j);
            let expected = (key <= query).then(|| weight(&table, layer, at, query, key) as f32);
            assert_eq!(*found, expected, "query {query}, key {key}");
        }
    }
    let said = label(&browser, 1050, 1040);
    let value = weight(&table, layer, at, 1050, 1040);
    assert!(
        said.contains(&format!("weight {}", digits(&browser, value))),
        "{said}"
    );
    browser.click(browser.middle("#whole"));
    browser.wait_for("shown.q1 === 2048 && page.byId('map').data[0].z.length === 256");

    // A head whose weights are not here has its overview, and the command that gets them.
    let head = exact(false);
    choose(head);
    let said = browser.evaluate("page.byId('left-out').textContent");
    let command = format!("--layers {} --heads {}", head.layer, head.head);
    assert!(said.as_str().unwrap().contains(&command), "{said}");
    assert_eq!(
        browser.evaluate("page.byId('left-out').classList.contains('hidden')"),
        false
    );
    let weights = (8 * 200..8 * 201).flat_map(|query| (0..8).map(move |key| (query, key)));
    let max = weights
        .map(|(query, key)| weight(&table, head.layer, head.head, query, key))
        .fold(0.0, f64::max);
    assert_eq!(float32(&cell(200, 0)), Some(max as f32));
    // Of its queries there are the largest weights, exactly, for the text.
    assert_eq!(outcome.top, 16);
    browser.hover(browser.middle("#tokens span[data-i='1500']"));
    browser.wait_for("pointed === 1500");
    let of = |key| weight(&table, head.layer, head.head, 1500, key);
    let mut keys: Vec<usize> = (0..=1500).collect();
    keys.sort_by(|&a, &b| of(b).partial_cmp(&of(a)).unwrap());
    let share = |key: usize| {
        browser.evaluate(&format!(
            "Number(tokens[{key}].style.getPropertyValue('--w'))"
        ))
    };
    for (i, &key) in keys.iter().enumerate().take(20) {
        let expected = if i < 16 { of(key) / of(keys[0]) } else { 0.0 };
        assert!(
            (share(key).as_f64().unwrap() - expected).abs() < 1e-3,
            "key {key}"
        );
    }
    let said = browser.evaluate("page.byId('row').textContent");
    assert!(
        said.as_str()
            .unwrap()
            .contains(&digits(&browser, of(keys[1]))),
        "{said}"
    );
    let said = browser.evaluate("page.byId('warnings').textContent");
    let exact = outcome.heads.iter().filter(|head| head.is_exact).count();
    assert!(
        said.as_str()
            .unwrap()
            .contains(&format!("the {exact} sparsest of 12 heads")),
        "{said}"
    );
    assert!(
        said.as_str().unwrap().contains("The text was cut"),
        "{said}"
    );

    assert_eq!(browser.complaints(), [""; 0]);
    assert_eq!(browser.requests(), [""; 0]);
    fs::remove_file(&request.out).unwrap();
}
