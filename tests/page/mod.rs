//! Self-contained pages, in a real browser where there is one.

use attnscope::page::{Array, Page};
use serde_json::json;

use crate::support::browser::Browser;

#[test]
fn a_page_runs_its_scripts_and_no_other() {
    let Some(browser) = Browser::start(800, 600) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("page.html");
    let nasty = "</script><script>window.intruder = 1</script><img src=x onerror='window.intruder = 1'>🦀\u{2028}'\"";
    let counts: Vec<u16> = (0..70_000u32).map(|i| (i % 1000) as u16).collect();
    let facts = json!({
        "name": nasty,
        "plain": Array::new(&[0.1f64, f64::NAN, -3.0]),
        "deflated": Array::deflated(&counts),
    });
    Page::new(nasty)
        .body("<main><h1 id=\"name\"></h1><div id=\"chart\" style=\"height: 300px\"></div></main>")
        .data("facts", &facts)
        .unwrap()
        .script(
            "const facts = page.read('facts');
             page.byId('name').append(facts.name);
             document.querySelector('main').append(page.themeSwitch());
             const line = page.chart(page.byId('chart'), () => ({
               data: [{ x: [1, 2, 3], y: [1, 4, 9], line: { color: page.model(0).colour } }],
               layout: { xaxis: { title: { text: facts.name } }, yaxis: {} },
             }));",
        )
        .charts()
        .write(&out)
        .unwrap();
    browser.open(&out);
    browser.wait_for("line.isDrawn()");
    assert_eq!(browser.evaluate("document.title"), nasty);
    assert_eq!(
        browser.evaluate("document.getElementById('name').textContent"),
        nasty
    );
    assert_eq!(browser.evaluate("typeof window.intruder"), "undefined");
    assert_eq!(
        browser.evaluate("Array.from(page.array(facts.plain), String)"),
        json!(["0.1", "NaN", "-3"])
    );
    let inflated = browser.evaluate("page.inflated(facts.deflated).then((a) => Array.from(a))");
    assert_eq!(inflated, json!(counts));

    // Light turns dark, by the system's wish and by the button.
    let look = "getComputedStyle(document.body).backgroundColor";
    let colour = "document.querySelector('#chart .scatterlayer path').style.stroke";
    browser.prefer("light");
    browser.wait_for("document.documentElement.dataset.theme === 'light' && line.isDrawn()");
    let light = (browser.evaluate(look), browser.evaluate(colour));
    browser.prefer("dark");
    browser.wait_for("document.documentElement.dataset.theme === 'dark' && line.isDrawn()");
    let dark = (browser.evaluate(look), browser.evaluate(colour));
    assert!(light.0 != dark.0 && light.1 != dark.1, "{light:?} {dark:?}");
    browser.click(browser.middle("#theme"));
    assert_eq!((browser.evaluate(look), browser.evaluate(colour)), light);
    browser.press("Enter");
    assert_eq!((browser.evaluate(look), browser.evaluate(colour)), dark);

    assert_eq!(browser.complaints(), [""; 0]);
    assert_eq!(browser.requests(), [""; 0]);

    // The policy holds against what would get past the escaping.
    browser.evaluate(
        "{ const s = document.createElement('script'); s.textContent = 'window.intruder = 1';
           document.body.append(s); document.body.append(new Image().src = 'x'); }
         fetch('https://example.com/').catch(() => 0)",
    );
    assert_eq!(browser.evaluate("typeof window.intruder"), "undefined");
    let refused = browser.complaints().join("\n");
    assert!(
        refused.contains("script-src") && refused.contains("connect"),
        "{refused}"
    );
}
