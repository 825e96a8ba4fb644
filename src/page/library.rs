//! The charting library, plotly.js, out of the crate that carries it.

use std::sync::LazyLock;

const OPEN: &str = "<script type=\"text/javascript\">";
const CLOSE: &str = "</script>";

/// The crate gives two script elements, plotly.js and MathJax; pages set no formulas, so the first one is enough and
/// 2 MB are saved. A test asserts that this is what the crate gives.
static SOURCE: LazyLock<String> = LazyLock::new(|| {
    let elements = plotly::Plot::offline_js_sources();
    match first_script(&elements) {
        Some(source) => source.to_owned(),
        None => String::new(),
    }
});

/// The source of plotly.js.
pub(super) fn source() -> &'static str {
    &SOURCE
}

fn first_script(elements: &str) -> Option<&str> {
    let inside = &elements[elements.find(OPEN)? + OPEN.len()..];
    Some(&inside[..inside.find(CLOSE)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_gives_plotly_and_mathjax() {
        let elements = plotly::Plot::offline_js_sources();
        assert_eq!(elements.matches(OPEN).count(), 2);
        assert_eq!(elements.matches(CLOSE).count(), 2);
        let head: String = source().chars().take(40).collect();
        assert!(head.contains("plotly.js v3."), "{head}");
        assert!(source().ends_with("return Plotly;\n}));"));
        assert!(source().len() > 4_000_000);
        let rest = &elements[elements.find(source()).unwrap() + source().len()..];
        assert!(rest.contains("MathJax") && !source().contains("mathjax@"));
    }
}
