//! Where the files of an axlearn checkpoint are.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// The files below the step directory of an axlearn checkpoint, on this machine or elsewhere. Paths are relative
/// to it, with `/`.
pub trait Files: Send + Sync {
    /// Where a file is, for people.
    fn locate(&self, path: &str) -> PathBuf;

    /// All files below the folder `under`, with their sizes in bytes; empty if there is no such folder.
    fn list(&self, under: &str) -> Result<BTreeMap<String, u64>>;

    /// A small file as a whole.
    fn read(&self, path: &str) -> Result<Vec<u8>>;

    /// A file of any size, to be read from its beginning. An [`Error`] that its reader meets is wrapped in the
    /// `std::io::Error`.
    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>>;

    /// A file that was read has turned out to be damaged: what is kept of it on the way is dropped. Returns what a
    /// person can do.
    fn distrust(&self, _path: &str) -> &'static str {
        "copy it again"
    }

    /// Files that will be opened soon, and how many bytes of each: a reader from afar can begin to fetch them.
    fn expect(&self, _files: &[(String, u64)]) -> Result<()> {
        Ok(())
    }

    /// Files that were expected and will not be opened again.
    fn release(&self, _files: &[(String, u64)]) -> Result<()> {
        Ok(())
    }
}

/// A step directory on this machine.
#[derive(Debug, Clone)]
pub struct LocalFiles {
    dir: PathBuf,
}

impl LocalFiles {
    /// The files below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
}

impl Files for LocalFiles {
    fn locate(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    fn list(&self, under: &str) -> Result<BTreeMap<String, u64>> {
        let mut files = BTreeMap::new();
        let root = self.dir.join(under);
        if root.is_dir() {
            visit(&root, under, &mut files)?;
        }
        Ok(files)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.locate(path);
        fs::read(&path).map_err(Error::io(&path))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>> {
        let path = self.locate(path);
        Ok(Box::new(File::open(&path).map_err(Error::io(&path))?))
    }
}

/// Adds the files of `dir`, called `name`, and of the folders in it.
fn visit(dir: &Path, name: &str, files: &mut BTreeMap<String, u64>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else {
            continue; // Not a name that axlearn gives.
        };
        let name = format!("{name}/{file_name}");
        // Through links: a checkpoint may be pieced together of them. What one that leads nowhere stands for is missing.
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(Error::io(&path))?,
        };
        if metadata.is_dir() {
            visit(&path, &name, files)?;
        } else {
            files.insert(name, metadata.len());
        }
    }
    Ok(())
}
