//! Where the Hub and the cache are, and with which token: the `HF_*` variables.
//!
//! Names, defaults and order of precedence are those of Python's `huggingface_hub` (`constants.py`
//! and `utils/_auth.py`), so that both find the same cache and the same login.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::retry::RetryPolicy;
use crate::error::{Error, Result};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Python's `HF_HUB_DOWNLOAD_TIMEOUT`: how long a server may stay silent.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// An access token. It never appears in `Debug` output, so that no log can hold it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the token out of what a person or a file wrote: line ends and outer blanks are dropped, as
    /// Python does. `None` if nothing is left.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.replace(['\r', '\n'], "");
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_owned()))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Everything a [`Hub`](super::Hub) depends on, so that nothing else reads the environment.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Base address without a slash at the end, such as `https://huggingface.co`.
    pub endpoint: String,
    /// The cache directory that holds the `models--…` and `datasets--…` folders.
    pub cache: PathBuf,
    /// Where libraries keep what they make of downloads, each in a folder of its own.
    pub assets: PathBuf,
    /// Sent to the endpoint, and to no other host.
    pub token: Option<Token>,
    /// Never open a connection; use what the cache holds.
    pub offline: bool,
    /// How long a connection may take to open, or stay silent, before the attempt counts as failed.
    pub timeout: Duration,
    /// When and how often to try again.
    pub retry: RetryPolicy,
    /// Show progress bars. They appear only where stderr is a terminal.
    pub progress: bool,
}

impl HubSettings {
    /// Settings for `endpoint` and `cache`, with no token, online, and without progress bars.
    pub fn new(endpoint: impl Into<String>, cache: impl Into<PathBuf>) -> Self {
        let cache = cache.into();
        HubSettings {
            endpoint: endpoint.into().trim_end_matches('/').to_owned(),
            assets: cache.with_file_name("assets"),
            cache,
            token: None,
            offline: false,
            timeout: DEFAULT_TIMEOUT,
            retry: RetryPolicy::default(),
            progress: false,
        }
    }

    /// Reads the process environment: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_ASSETS_CACHE`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_DOWNLOAD_TIMEOUT`,
    /// `HF_HUB_DISABLE_PROGRESS_BARS`, `XDG_CACHE_HOME`, and the older names that Python still accepts
    /// (`HUGGINGFACE_HUB_CACHE`, `HUGGING_FACE_HUB_TOKEN`, `TRANSFORMERS_OFFLINE`).
    ///
    /// Fails with [`Error::Usage`] on a value that cannot be used, and with [`Error::Io`] on a token file
    /// that is there but cannot be read.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(&|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::Usage(format!("{name} is not valid Unicode")))
            }
        })
    }

    /// [`from_env`](Self::from_env) with the environment given as a function, for tests.
    pub fn from_variables(variable: &dyn Fn(&str) -> Result<Option<String>>) -> Result<Self> {
        let path = |text: &str| expand(text, variable).map(PathBuf::from);
        let is_true =
            |name: &str| Ok::<_, Error>(variable(name)?.is_some_and(|value| truthy(&value)));

        let home = match variable("HF_HOME")? {
            Some(home) => path(&home)?,
            None => match variable("XDG_CACHE_HOME")? {
                Some(cache) => path(&cache)?.join("huggingface"),
                None => path("~/.cache/huggingface")?,
            },
        };
        let cache = match variable("HF_HUB_CACHE")?.or(variable("HUGGINGFACE_HUB_CACHE")?) {
            Some(cache) => path(&cache)?,
            None => home.join("hub"),
        };
        let assets = match variable("HF_ASSETS_CACHE")? {
            Some(assets) => path(&assets)?,
            None => home.join("assets"),
        };
        let endpoint = variable("HF_ENDPOINT")?.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());

        let token = if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")? {
            None
        } else {
            let given =
                non_empty(variable("HF_TOKEN")?).or(non_empty(variable("HUGGING_FACE_HUB_TOKEN")?));
            match given.as_deref().and_then(Token::new) {
                Some(token) => Some(token),
                None => read_token(&match variable("HF_TOKEN_PATH")? {
                    Some(file) => path(&file)?,
                    None => home.join("token"),
                })?,
            }
        };
        let offline = non_empty(variable("HF_HUB_OFFLINE")?).or(variable("TRANSFORMERS_OFFLINE")?);
        let timeout = match non_empty(variable("HF_HUB_DOWNLOAD_TIMEOUT")?) {
            None => DEFAULT_TIMEOUT,
            Some(text) => match text.trim().parse() {
                Ok(0) => DEFAULT_TIMEOUT, // as in Python, where 0 means "not set"
                Ok(seconds) => Duration::from_secs(seconds),
                Err(_) => {
                    return Err(Error::Usage(format!(
                        "HF_HUB_DOWNLOAD_TIMEOUT is `{text}`; a whole number of seconds is needed"
                    )));
                }
            },
        };
        Ok(HubSettings {
            assets,
            token,
            offline: offline.is_some_and(|value| truthy(&value)),
            timeout,
            progress: !is_true("HF_HUB_DISABLE_PROGRESS_BARS")?,
            ..HubSettings::new(endpoint, cache)
        })
    }
}

fn read_token(file: &Path) -> Result<Option<Token>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Token::new(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(file)(error)),
    }
}

fn non_empty(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

/// What Python's `huggingface_hub` takes for yes.
fn truthy(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
}

/// Python's `expandvars(expanduser(text))`: a leading `~`, then `$NAME` and `${NAME}`. Unknown variables
/// and `~user` stay as they are.
fn expand(text: &str, variable: &dyn Fn(&str) -> Result<Option<String>>) -> Result<String> {
    let mut rest = text;
    let mut expanded = String::new();
    if let Some(tail) = text.strip_prefix('~')
        && (tail.is_empty() || tail.starts_with('/'))
    {
        expanded.push_str(&home_directory(variable)?);
        rest = tail;
    }
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        let (name, length) = match after.strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(end) => (&braced[..end], end + 2),
                None => ("", 0),
            },
            None => {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        let value = if name.is_empty() {
            None
        } else {
            variable(name)?
        };
        match value {
            Some(value) => expanded.push_str(&value),
            None => {
                expanded.push('$');
                expanded.push_str(&after[..length]);
            }
        }
        rest = &after[length..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn home_directory(variable: &dyn Fn(&str) -> Result<Option<String>>) -> Result<String> {
    if let Some(home) = variable("HOME")? {
        return Ok(home.trim_end_matches('/').to_owned());
    }
    let home = std::env::home_dir().ok_or_else(|| {
        Error::Usage("there is no home directory for the cache; set HF_HOME".to_owned())
    })?;
    match home.into_os_string().into_string() {
        Ok(home) => Ok(home),
        Err(_) => Err(Error::Usage(
            "the home directory's name is not valid Unicode; set HF_HOME".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        let lookup = |name: &str| {
            Ok(variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned()))
        };
        HubSettings::from_variables(&lookup).unwrap()
    }

    #[test]
    fn defaults() {
        let settings = settings(&[("HOME", "/nobody")]);
        assert_eq!(settings.endpoint, "https://huggingface.co");
        assert_eq!(settings.cache, Path::new("/nobody/.cache/huggingface/hub"));
        assert_eq!(settings.token, None);
        assert_eq!(settings.timeout, Duration::from_secs(10));
        assert!(!settings.offline);
        assert!(settings.progress);
    }

    #[test]
    fn the_cache_is_found_in_the_order_that_python_looks() {
        let mut variables = vec![
            ("HOME", "/h"),
            ("SCRATCH", "/big"),
            ("XDG_CACHE_HOME", "/xdg"),
        ];
        assert_eq!(
            settings(&variables).cache,
            Path::new("/xdg/huggingface/hub")
        );
        variables.push(("HF_HOME", "~/hf"));
        assert_eq!(settings(&variables).cache, Path::new("/h/hf/hub"));
        variables.push(("HUGGINGFACE_HUB_CACHE", "/old"));
        assert_eq!(settings(&variables).cache, Path::new("/old"));
        variables.push(("HF_HUB_CACHE", "${SCRATCH}/$UNKNOWN/hub"));
        assert_eq!(settings(&variables).cache, Path::new("/big/$UNKNOWN/hub"));
    }

    #[test]
    fn odd_dollars_and_tildes_stay() {
        let lookup = |name: &str| Ok((name == "A").then(|| "x".to_owned()));
        for (text, expected) in [
            ("$A$A/b", "xx/b"),
            ("a$", "a$"),
            ("${A", "${A"),
            ("$A_", "$A_"),
            ("${A}_", "x_"),
            ("~other/x", "~other/x"),
        ] {
            assert_eq!(expand(text, &lookup).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, " hf_file\r\n").unwrap();
        let home = directory.path().to_str().unwrap();
        let token = |variables: &[(&str, &str)]| {
            settings(variables)
                .token
                .map(|token| token.secret().to_owned())
        };

        assert_eq!(token(&[("HF_HOME", home)]).as_deref(), Some("hf_file"));
        assert_eq!(
            token(&[("HF_HOME", home), ("HF_TOKEN", "hf_env\n")]).as_deref(),
            Some("hf_env")
        );
        assert_eq!(
            token(&[("HF_HOME", home), ("HF_TOKEN", "")]).as_deref(),
            Some("hf_file")
        );
        assert_eq!(
            token(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]),
            None
        );
        assert_eq!(
            token(&[
                ("HF_HOME", "/none"),
                ("HF_TOKEN_PATH", file.to_str().unwrap())
            ])
            .as_deref(),
            Some("hf_file")
        );
        assert_eq!(
            token(&[("HF_HOME", home), ("HF_TOKEN_PATH", "/none")]),
            None
        );
    }

    #[test]
    fn debug_output_hides_the_token() {
        let settings = settings(&[("HOME", "/h"), ("HF_TOKEN", "hf_secret")]);
        assert!(!format!("{settings:?}").contains("hf_secret"));
    }

    #[test]
    fn offline_and_bad_values() {
        for (value, offline) in [
            ("1", true),
            ("true", true),
            ("ON", true),
            ("0", false),
            ("", false),
            ("2", false),
        ] {
            assert_eq!(
                settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).offline,
                offline,
                "{value}"
            );
        }
        assert!(settings(&[("HOME", "/h"), ("TRANSFORMERS_OFFLINE", "1")]).offline);
        let lookup =
            |name: &str| Ok((name == "HF_HUB_DOWNLOAD_TIMEOUT").then(|| "soon".to_owned()));
        assert!(matches!(
            HubSettings::from_variables(&lookup),
            Err(Error::Usage(_))
        ));
    }
}
