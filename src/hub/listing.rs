//! What a repository holds at one commit, and the checks that a stranger's names must pass before
//! they become paths.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// The two kinds of repository that attnscope reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepoKind {
    /// A model: config, tokenizer, weights.
    Model,
    /// A dataset.
    Dataset,
}

impl RepoKind {
    /// `models` or `datasets`: in the Hub's API routes, and the first part of a cache folder's name.
    pub(super) fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        }
    }
}

impl std::fmt::Display for RepoKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RepoKind::Model => "model",
            RepoKind::Dataset => "dataset",
        })
    }
}

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFile {
    /// Path inside the repository, with `/` between its parts; checked to stay inside.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the content, where the file is kept in LFS.
    pub sha256: Option<String>,
    /// Git's object id (of the LFS pointer, if the file is in LFS). Unknown if the listing was read off a
    /// cached snapshot that no listing was kept for.
    pub(super) git_oid: Option<String>,
    /// The Hub's id in its chunk store; kept for Python, which uses it.
    pub(super) xet_hash: Option<String>,
}

impl RepoFile {
    /// What the Hub sends as the file's ETag, and the name of its blob in the cache: the SHA-256 of a file
    /// in LFS, git's object id of any other.
    pub(super) fn etag(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.git_oid.as_deref())
    }
}

/// A repository at one commit: what [`Hub::resolve`](super::Hub::resolve) found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoListing {
    /// Model or dataset.
    pub kind: RepoKind,
    /// `owner/name`, or `name` alone for the few old repositories without an owner.
    pub repo: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that it stood for: 40 hexadecimal digits. Files are fetched by it, never by the branch.
    pub commit: String,
    /// All files, sorted by path.
    pub files: Vec<RepoFile>,
}

impl RepoListing {
    /// What was asked for: for messages.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            kind: self.kind,
            repo: &self.repo,
            revision: &self.revision,
        }
    }

    /// What is fetched: the commit.
    pub(super) fn pinned(&self) -> Place<'_> {
        Place {
            revision: &self.commit,
            ..self.place()
        }
    }
}

/// A repository at a revision, as a person or a request names it: `model org/name (revision main)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) kind: RepoKind,
    pub(super) repo: &'a str,
    pub(super) revision: &'a str,
}

impl Place<'_> {
    pub(super) fn not_on_hub(self, message: String) -> Error {
        Error::NotOnHub {
            repo: format!("{} {}", self.kind, self.repo),
            revision: self.revision.to_owned(),
            message,
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place {
            kind,
            repo,
            revision,
        } = self;
        write!(f, "{kind} {repo} (revision {revision})")
    }
}

/// Files of one commit, on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Model or dataset.
    pub kind: RepoKind,
    /// `owner/name`.
    pub repo: String,
    /// The commit, to be recorded beside results.
    pub commit: String,
    /// The directory in which the files lie under their own names.
    pub dir: PathBuf,
    /// Paths relative to `dir`, sorted: the files that were wanted, or all that are there.
    pub files: Vec<String>,
}

/// Checks a repository id by the rules that the Hub has for names, which also make it a safe folder name.
pub(super) fn check_repo(repo: &str) -> Result<()> {
    let part_is_good = |part: &str| {
        (1..=96).contains(&part.len())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    if repo.split('/').count() <= 2 && repo.split('/').all(part_is_good) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "`{repo}` is not a repository id; one looks like `owner/name`"
    )))
}

/// Checks a branch, tag or commit: it becomes a path below `refs/`.
pub(super) fn check_revision(repo: &str, revision: &str) -> Result<()> {
    is_safe_path(revision).then_some(()).ok_or_else(|| {
        Error::Usage(format!(
            "{repo}: `{revision}` cannot be the name of a revision"
        ))
    })
}

/// Whether `path`, joined to a directory, names something below it on every system: no `..`, not absolute,
/// no drive, no backslash, no control character.
pub(super) fn is_safe_path(path: &str) -> bool {
    let drive =
        path.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && path[1..].starts_with(':');
    !drive
        && !path.contains('\\')
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether `text` is a full commit id.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_lower_hex(text)
}

/// Whether `text` is a SHA-256 in the form that the Hub states it.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && is_lower_hex(text)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "../evil",
            "a/../../evil",
            "a/..",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "C:evil",
            "c:/evil",
            "..\\evil",
            "a\\b",
            "a\0b",
            "a\nb",
        ] {
            assert!(!is_safe_path(bad), "{bad:?}");
        }
        for good in [
            "config.json",
            "a/b/c.parquet",
            "..a",
            "a..b",
            "é.txt",
            "refs/convert/parquet",
            "a b#?.bin",
            "…",
        ] {
            assert!(is_safe_path(good), "{good:?}");
        }
    }

    #[test]
    fn repository_ids() {
        for good in ["gpt2", "NeelNanda/pile-10k", "a/b_c.d"] {
            assert!(check_repo(good).is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a/b/c", "../x", "a/..", "a--b/c", "a/b c", "a/b?x", "a\\b",
            ".a/b", "a/-b",
        ] {
            assert!(matches!(check_repo(bad), Err(Error::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn commits_and_checksums() {
        assert!(is_commit(&"0a".repeat(20)));
        assert!(!is_commit(&"0A".repeat(20)) && !is_commit("main") && !is_commit(&"0a".repeat(32)));
        assert!(is_sha256(&"0a".repeat(32)) && !is_sha256(&"0g".repeat(32)));
    }
}
