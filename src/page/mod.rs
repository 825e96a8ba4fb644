//! Self-contained interactive pages: one HTML file that opens from a disk, a mail or an archive, without a server and
//! without a network.
//!
//! A page is a caller's own HTML, style sheets and scripts (files beside the caller's code, embedded in the binary),
//! the charting library plotly.js if wanted, and data. What comes from outside, names of models above all, only ever
//! is data: [`Page::data`] escapes it, and scripts put it on the page as text. The Content-Security-Policy names the
//! hash of every script that may run and allows no connection whatever, so that nothing else can run either.
//!
//! What every page has is in `base.css` and `base.js`: light and dark, controls that the keyboard reaches, printing,
//! decoding of [`Array`]s, charts that are drawn when they come into view. See the head of `base.js`.
//!
//! ```
//! use attnscope::page::{Array, Page};
//!
//! # fn main() -> attnscope::Result<()> {
//! # let temporary = tempfile::tempdir().map_err(attnscope::Error::io("tmp"))?;
//! # let out = temporary.path().join("page.html");
//! let numbers = Array::new(&[0.5f32, 0.25]);
//! Page::new("Two numbers")
//!     .body("<main><p id=\"sum\"></p></main>")
//!     .data("facts", &serde_json::json!({ "numbers": numbers }))?
//!     .script("const [a, b] = page.array(page.read('facts').numbers); page.byId('sum').textContent = a + b;")
//!     .write(&out)?;
//! # Ok(())
//! # }
//! ```

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::store::{AtomicFile, create_directory};
use crate::{Error, Result};

mod array;
mod escape;
mod library;

pub use array::{Array, Element};

const BASE_STYLE: &str = include_str!("base.css");
const BASE_SCRIPT: &str = include_str!("base.js");

/// A page in the making.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: &'static str,
    styles: Vec<&'static str>,
    scripts: Vec<&'static str>,
    /// Identifier of the element, and its JSON.
    data: Vec<(Cow<'static, str>, String)>,
    has_charts: bool,
}

impl Page {
    /// An empty page; the title is escaped.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            body: "",
            styles: vec![BASE_STYLE],
            scripts: vec![BASE_SCRIPT],
            data: Vec::new(),
            has_charts: false,
        }
    }

    /// Sets what stands in `<body>`. Our own HTML: names of models and the like come as [`Page::data`].
    pub fn body(mut self, html: &'static str) -> Self {
        self.body = html;
        self
    }

    /// Adds a style sheet, after those that are there.
    pub fn style(mut self, css: &'static str) -> Self {
        self.styles.push(css);
        self
    }

    /// Adds a script, after those that are there. All scripts are one program in strict mode; they run when body and
    /// data are there, and before the charting library is.
    pub fn script(mut self, javascript: &'static str) -> Self {
        self.scripts.push(javascript);
        self
    }

    /// Adds the charting library, for `page.charts` in scripts.
    pub fn charts(mut self) -> Self {
        self.has_charts = true;
        self
    }

    /// Adds data, which `page.read(id)` gives to scripts; `id` is our own and nothing that comes from outside. Numbers that are not finite become `null`; large arrays of
    /// numbers are better off as [`Array`]s within `value`.
    ///
    /// # Errors
    /// [`Error::Io`] if `value` cannot be JSON.
    pub fn data(
        mut self,
        id: impl Into<Cow<'static, str>>,
        value: &impl Serialize,
    ) -> Result<Self> {
        let id = id.into();
        let json = serde_json::to_string(value)
            .map_err(|error| Error::io(&*id)(io::Error::other(error)))?;
        self.data.push((id, escape::json(&json)));
        Ok(self)
    }

    /// The page as HTML.
    pub fn to_html(&self) -> String {
        let program = format!("'use strict';\n{}", self.scripts.join("\n"));
        let mut scripts = vec![program.as_str()];
        if self.has_charts {
            scripts.extend([library::source(), "page.loaded(Plotly);"]);
        }
        let hashes: Vec<String> = scripts.iter().map(|script| hash(script)).collect();
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {}; \
             style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"generator\" content=\"attnscope {}\">\n<title>{}</title>\n",
            hashes.join(" "),
            env!("CARGO_PKG_VERSION"),
            escape::html(&self.title)
        );
        for style in &self.styles {
            html.push_str(&format!("<style>\n{style}</style>\n"));
        }
        html.push_str("</head>\n<body>\n");
        html.push_str(self.body);
        html.push_str("<noscript><p>This page needs JavaScript; it loads nothing from anywhere.</p></noscript>\n");
        for (id, json) in &self.data {
            html.push_str(&format!(
                "<script type=\"application/json\" id=\"{id}\">{json}</script>\n"
            ));
        }
        for script in scripts {
            html.push_str("<script>");
            html.push_str(script);
            html.push_str("</script>\n");
        }
        html.push_str("</body>\n</html>\n");
        html
    }

    /// Writes the page to `path`, whose directory is created if need be.
    ///
    /// # Errors
    /// What [`refuse_occupied`] refuses, and what the disk does.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.prepare(path)?.commit_new()
    }

    /// Writes the page, complete but without its name, which [`AtomicFile::commit_new`] gives it.
    ///
    /// # Errors
    /// As [`Page::write`].
    pub(crate) fn prepare(&self, path: &Path) -> Result<AtomicFile> {
        refuse_occupied(path)?;
        if let Some(parent) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            create_directory(parent)?;
        }
        let mut file = AtomicFile::create(path)?;
        file.write_all(self.to_html().as_bytes())
            .map_err(Error::io(path))?;
        Ok(file)
    }
}

/// Fails if there is anything at `path`: a page is never written over something.
///
/// # Errors
/// [`Error::OutDir`] with the path.
pub fn refuse_occupied(path: &Path) -> Result<()> {
    let message = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            "a directory above it is a file; choose another --out"
        }
        Err(_) => return Ok(()),
        Ok(found) if found.is_dir() => "is a directory; name the file to write, such as page.html",
        Ok(_) => "is there already and is not overwritten; choose another --out",
    };
    Err(Error::OutDir {
        path: path.to_path_buf(),
        message: message.into(),
    })
}

/// A script's source as the Content-Security-Policy names it.
fn hash(script: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(Sha256::digest(script)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A browser reads CR LF as LF before it hashes, and ends a script at the first `</script`.
    #[test]
    fn scripts_are_what_their_hashes_say() {
        for script in [BASE_SCRIPT, library::source()] {
            for refused in ["\r", "\0", "</script", "</SCRIPT", "<!--"] {
                assert!(!script.contains(refused), "{refused:?}");
            }
        }
        // `printf %s "page.loaded(Plotly);" | openssl dgst -sha256 -binary | base64`
        assert_eq!(
            hash("page.loaded(Plotly);"),
            "'sha256-DyN4nI2wgXgG3D6c0BPg/pjee4gYqFdpQhHohf4IgeI='"
        );
    }

    #[test]
    fn what_comes_from_outside_stays_text() {
        let nasty = "</title></script><script>alert(1)</script><!-- \"'&\u{2028}🦀";
        let page = Page::new(nasty)
            .data("names", &serde_json::json!([nasty]))
            .unwrap();
        let html = page.to_html();
        let scripts = html.to_lowercase().matches("<script").count();
        assert_eq!(scripts, 2, "data, program");
        assert_eq!(html.to_lowercase().matches("</script").count(), 2);
        assert_eq!(html.matches("</title").count(), 1);
        let start = html.find("id=\"names\">").unwrap() + "id=\"names\">".len();
        let json = &html[start..start + html[start..].find("</script>").unwrap()];
        assert!(!html.contains("<!-- ") && !json.contains('\u{2028}'));
        let read: Vec<String> = serde_json::from_str(json).unwrap();
        assert_eq!(read, [nasty]);
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/page.html");
        let page = Page::new("A page");
        page.write(&path).unwrap();
        let first = fs::read(&path).unwrap();
        let error = page.write(&path).unwrap_err();
        assert!(matches!(error, Error::OutDir { .. }), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(fs::read(&path).unwrap(), first);
        let error = page.write(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is a directory"), "{error}");
        // Another process may have been quicker.
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"second").unwrap();
        let error = file.commit_new().unwrap_err();
        assert!(matches!(error, Error::OutDir { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
