//! The charting library, plotly.js, out of the crate that carries it.

use std::sync::LazyLock;

const OPEN: &str = "<script type=\"text/javascript\">";
const CLOSE: &str = "</script>";

/// The crate gives two script elements, plotly.js and MathJax; pages set no formulas, so the first one is enough and
/// 2 MB are saved. A test asserts that this is what the crate gives.
static SOURCE: LazyLock<String> = LazyLock::new(|| {
    let elements = plotly::Plot::offline_js_sources();
    match first_script(&elements) {
        Some(source) => parsed_once(source),
        None => String::new(),
    }
});

/// The source begins `(function(root, factory) {…} (typeof self …, () => {` and ends `}));`: the whole library is the
/// body of one function that is an argument.
const HEAD: &str = "(typeof self !== \"undefined\" ? self : this, ";
const TAIL: &str = ");";

/// The same program with the large function in parentheses. V8 then parses its body at once; otherwise it takes the
/// function for one that may never be called, skims it, and parses it again when it is (a fifth of the
/// time that the library needs to load).
fn parsed_once(source: &str) -> String {
    let Some((head, rest)) = source.split_once(HEAD) else {
        return source.to_owned();
    };
    match rest
        .strip_suffix(TAIL)
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(function) => format!("{head}{HEAD}({function})){TAIL}"),
        None => source.to_owned(),
    }
}

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
        assert!(source().ends_with("return Plotly;\n})));"));
        assert_eq!(source().matches(HEAD).count(), 1);
        assert!(source().contains(&format!("{HEAD}(() => {{")));
        assert!(source().len() > 4_000_000);
        let rest = &elements[elements.find(CLOSE).unwrap()..];
        assert!(rest.contains("MathJax") && !source().contains("MathJax.js"));
    }
}
