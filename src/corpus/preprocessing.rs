//! What happens to a text before it is tokenised.

use std::{borrow::Cow, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the texts were prepared that a model was trained on: the `[text]` section of its manifest, and a file of a
/// converted checkpoint.
///
/// ```toml
/// [text]
/// replace = [{ from = "\n", to = "<n>" }]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocessing {
    /// Literal replacements, each applied to the whole text that the one before has left.
    pub replace: Vec<Replacement>,
}

/// Every occurrence of `from` becomes `to`, as in Python's `text.replace(from, to)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawReplacement")]
pub struct Replacement {
    from: String,
    to: String,
}

impl Replacement {
    /// A replacement; `None` for an empty `from`, which would match between all characters.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Option<Self> {
        let (from, to) = (from.into(), to.into());
        (!from.is_empty()).then_some(Self { from, to })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReplacement {
    from: String,
    to: String,
}

impl TryFrom<RawReplacement> for Replacement {
    type Error = &'static str;

    fn try_from(raw: RawReplacement) -> std::result::Result<Self, Self::Error> {
        Self::new(raw.from, raw.to).ok_or("`from` is empty: there is nothing to replace")
    }
}

impl Preprocessing {
    /// The file of a checkpoint directory that says how texts are prepared for it, as JSON of this type.
    pub const FILE_NAME: &str = "text_preprocessing.json";

    /// What the checkpoint directory `dir` says; `None` if it has no such file.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the file cannot be read or is not understood.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(Self::FILE_NAME);
        let failed = |message: String| Error::Tokenizer {
            path: path.clone(),
            message,
        };
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                failed(format!(
                    "does not say how texts are prepared: {error}; copy it here anew from where the checkpoint came from"
                ))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(format!("cannot be read: {error}"))),
        }
    }

    /// The text as the tokenizer is to see it.
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for Replacement { from, to } in &self.replace {
            if text.contains(from) {
                text = Cow::Owned(text.replace(from, to));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gala_rule_from_toml() {
        let gala: Preprocessing =
            toml::from_str(r#"replace = [{ from = "\n", to = "<n>" }]"#).unwrap();
        assert_eq!(gala.apply("one\n\ntwo\r\n"), "one<n><n>two\r<n>");
        assert!(matches!(gala.apply("one line"), Cow::Borrowed("one line")));
    }

    #[test]
    fn replacements_follow_each_other() {
        let replace = [("\r\n", "\n"), ("\n", "<n>")]
            .map(|(from, to)| Replacement::new(from, to).unwrap())
            .to_vec();
        assert_eq!(Preprocessing { replace }.apply("a\r\nb\nc"), "a<n>b<n>c");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let parse = |text: &str| {
            toml::from_str::<Preprocessing>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(parse(r#"replace = [{ from = "", to = "x" }]"#).contains("`from` is empty"));
        assert!(parse(r#"replace = [{ from = "a", two = "x" }]"#).contains("two"));
        assert!(parse(r#"lowercase = true"#).contains("lowercase"));
    }
}
