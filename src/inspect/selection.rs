//! Which layers, or which heads of each layer.

use std::{collections::BTreeSet, str::FromStr};

use crate::{Error, Result};

/// Numbers from 0, as `all` or as a list of numbers and ranges: `0,3,8..12` is 0, 3, 8, 9, 10 and 11, `8..=12` ends
/// with 12.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    /// All there are.
    #[default]
    All,
    /// These, and at least one.
    These(BTreeSet<usize>),
}

/// Far more than any model has; longer ranges are slips.
const LARGEST: usize = 100_000;

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Selection::All);
        }
        let number = |text: &str| match text.trim().parse::<usize>() {
            Ok(number) if number <= LARGEST => Ok(number),
            _ => Err(format!(
                "`{}` is no number from 0 on; write for example 0,3,8..12 (8 to 11) or all",
                text.trim()
            )),
        };
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            let range = match part.split_once("..") {
                None => {
                    let number = number(part)?;
                    number..number + 1
                }
                Some((start, end)) => match end.strip_prefix('=') {
                    Some(last) => number(start)?..number(last)? + 1,
                    None => number(start)?..number(end)?,
                },
            };
            if range.is_empty() {
                return Err(format!("the range `{}` is empty", part.trim()));
            }
            numbers.extend(range);
        }
        Ok(Selection::These(numbers))
    }
}

impl Selection {
    /// The chosen ones of `count`, in order. `flag` and `what` are for the message: `--layers` and `layers`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a number that is not there.
    pub fn of(&self, count: usize, flag: &str, what: &str) -> Result<Vec<usize>> {
        match self {
            Selection::All => Ok((0..count).collect()),
            Selection::These(numbers) => match numbers.last() {
                Some(&last) if last >= count => Err(Error::Usage(format!(
                    "{flag}: there is no {last}; the model has {count} {what}, 0 to {}",
                    count.saturating_sub(1)
                ))),
                _ => Ok(numbers.iter().copied().collect()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let of = |text: &str| {
            text.parse::<Selection>()
                .unwrap()
                .of(20, "--layers", "layers")
        };
        assert_eq!(of("all").unwrap(), (0..20).collect::<Vec<_>>());
        assert_eq!(of("0,3,8..12").unwrap(), [0, 3, 8, 9, 10, 11]);
        assert_eq!(of(" 5 , 1..=2,2").unwrap(), [1, 2, 5]);
        let error = of("3,20").unwrap_err().to_string();
        assert_eq!(
            error,
            "--layers: there is no 20; the model has 20 layers, 0 to 19"
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, says) in [
            ("", "`` is no number"),
            ("a", "`a` is no number"),
            ("-1", "`-1` is no number"),
            ("1,,2", "`` is no number"),
            ("5..5", "`5..5` is empty"),
            ("6..5", "`6..5` is empty"),
            ("0..9999999", "`9999999` is no number"),
        ] {
            let error = text.parse::<Selection>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
