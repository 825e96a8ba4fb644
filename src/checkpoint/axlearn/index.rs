//! `index`: what an axlearn checkpoint says it holds.

use serde::Deserialize;
use serde_json::Value;

/// An array that `index` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Its path in the state, `model/decoder/…`.
    pub path: String,
    /// Its element type, by NumPy's name.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

/// The arrays of the model. Other parts of the state (`learner`, `prng_key`) and leaves that are no arrays (the
/// step, the type of an input iterator) are left out.
///
/// `index` is a list of pairs of path and value; an array's value is `{"dtype": "float32", "shape": "(3, 64)"}`,
/// the shape being Python's text of a tuple.
pub(super) fn parse(text: &[u8]) -> Result<Vec<IndexEntry>, String> {
    #[derive(Deserialize)]
    struct Described {
        dtype: String,
        shape: String,
    }
    let pairs: Vec<(String, Value)> = serde_json::from_slice(text)
        .map_err(|error| format!("is not a list of paths and values: {error}"))?;
    let mut entries: Vec<IndexEntry> = Vec::new();
    for (path, value) in pairs {
        if !path.starts_with("model/") || !value.is_object() {
            continue;
        }
        let described: Described = serde_json::from_value(value)
            .map_err(|error| format!("describes `{path}` in an unknown way: {error}"))?;
        let shape = tuple(&described.shape).ok_or_else(|| {
            format!(
                "gives `{path}` the shape `{}`, which is no tuple of numbers",
                described.shape
            )
        })?;
        if entries.iter().any(|entry| entry.path == path) {
            return Err(format!("lists `{path}` twice"));
        }
        if !crate::checkpoint::is_plain_relative(&path) {
            return Err(format!(
                "lists `{path}`, which is not a path inside the checkpoint"
            ));
        }
        entries.push(IndexEntry {
            path,
            dtype: described.dtype,
            shape,
        });
    }
    Ok(entries)
}

/// `()`, `(64,)`, `(3, 64)`.
fn tuple(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?.trim();
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let numbers = inner.strip_suffix(',').unwrap_or(inner);
    numbers
        .split(',')
        .map(|number| number.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_the_model_and_nothing_else() {
        let text = br#"[["step", 250000], ["input_iter", "<class 'x'>"],
            ["learner/mu/decoder/w", {"dtype": "float32", "shape": "(2,)"}],
            ["model/decoder/w", {"dtype": "bfloat16", "shape": "(3, 64)"}],
            ["model/decoder/s", {"dtype": "float32", "shape": "()"}],
            ["model/int_value", 7], ["prng_key", {"dtype": "uint32", "shape": "(4,)"}]]"#;
        let entries = parse(text).unwrap();
        let seen: Vec<_> = entries
            .iter()
            .map(|e| (e.path.as_str(), e.dtype.as_str(), e.shape.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                ("model/decoder/w", "bfloat16", vec![3, 64]),
                ("model/decoder/s", "float32", vec![])
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let of = |value: &str| parse(format!(r#"[["model/w", {value}]]"#).as_bytes()).unwrap_err();
        assert!(of(r#"{"dtype": "float32", "shape": "[3]"}"#).contains("`[3]`"));
        assert!(of(r#"{"dtype": "float32", "shape": "(3, -1)"}"#).contains("no tuple"));
        assert!(of(r#"{"dtype": "float32"}"#).contains("missing field `shape`"));
        assert!(parse(b"{}").unwrap_err().contains("not a list"));
        let twice = r#"["model/w", {"dtype": "float32", "shape": "()"}]"#;
        assert!(
            parse(format!("[{twice},{twice}]").as_bytes())
                .unwrap_err()
                .contains("twice")
        );
        let outside = br#"[["model/../../w", {"dtype": "float32", "shape": "()"}]]"#;
        assert!(parse(outside).unwrap_err().contains("not a path inside"));
    }
}
