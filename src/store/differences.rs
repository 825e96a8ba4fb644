//! Where two JSON documents differ, field by field, for messages that a person can act on.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::Fingerprint;

/// Longer values are cut in messages.
const SHOWN: usize = 80;

/// One field with different values on two sides; `null` stands for absent, too.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) left: Value,
    pub(super) right: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is {} there and {} here",
            self.field,
            shown(&self.left),
            shown(&self.right)
        )
    }
}

/// In what the fingerprint of earlier work, `theirs`, differs from `ours`; `None` if in nothing.
pub(crate) fn fingerprints_differ(theirs: &Fingerprint, ours: &Fingerprint) -> Option<String> {
    if theirs == ours {
        return None;
    }
    let value = |fingerprint: &Fingerprint| -> Value { fingerprint.clone().into_iter().collect() };
    // Numbers may lose their last bit on the way through a file, so ours takes the same way.
    let ours = value(ours);
    let ours = serde_json::from_str(&ours.to_string()).unwrap_or(ours);
    let differing = differences(&value(theirs), &ours);
    (!differing.is_empty()).then(|| sentence(&differing))
}

/// All differing fields, nested ones as `outer.inner`, in alphabetical order.
pub(super) fn differences(left: &Value, right: &Value) -> Vec<Difference> {
    let mut left = flatten(left);
    let mut right = flatten(right);
    let mut fields: Vec<String> = left.keys().chain(right.keys()).cloned().collect();
    fields.sort();
    fields.dedup();
    fields
        .into_iter()
        .map(|field| Difference {
            left: left.remove(&field).unwrap_or_default(),
            right: right.remove(&field).unwrap_or_default(),
            field,
        })
        .filter(|difference| difference.left != difference.right)
        .collect()
}

/// The differences as one sentence part.
pub(super) fn sentence(differences: &[Difference]) -> String {
    differences
        .iter()
        .map(Difference::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn flatten(value: &Value) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    walk(&path, value, into);
                }
            }
            leaf => {
                into.insert(prefix.to_owned(), leaf.clone());
            }
        }
    }
    let mut fields = BTreeMap::new();
    walk("", value, &mut fields);
    fields
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    let cut: String = text.chars().take(SHOWN).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_differing_field_is_named_with_both_values() {
        let left =
            json!({"seed": 1, "model": {"name": "a", "sizes": [1, 2]}, "same": null, "gone": true});
        let right =
            json!({"seed": 2, "model": {"name": "a", "sizes": [1, 3]}, "same": null, "new": "x"});
        assert_eq!(
            sentence(&differences(&left, &right)),
            "`gone` is true there and null here; `model.sizes` is [1,2] there and [1,3] here; \
             `new` is null there and \"x\" here; `seed` is 1 there and 2 here"
        );
        assert!(differences(&left, &left).is_empty());
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = json!({ "text": "ä".repeat(500) });
        let message = sentence(&differences(&long, &json!({"text": "b"})));
        assert!(message.contains('…') && message.len() < 300, "{message}");
    }
}
