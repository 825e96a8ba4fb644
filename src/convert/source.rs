//! Where a conversion reads from: a directory, or a bucket.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use crate::{
    Error, Result,
    checkpoint::axlearn::{Files, LocalFiles},
    hub::bucket::{Bucket, BucketFile, BucketSettings, Spool},
};

/// A file or directory on this machine, or a `gs://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On this machine.
    Local(PathBuf),
    /// In a bucket.
    Bucket(String),
}

impl FromStr for Location {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl Location {
    /// What `text` stands for.
    pub fn new(text: &str) -> Self {
        match text.starts_with("gs://") {
            true => Self::Bucket(text.trim_end_matches('/').into()),
            false => Self::Local(text.into()),
        }
    }

    /// For people.
    pub fn display(&self) -> PathBuf {
        match self {
            Self::Local(path) => path.clone(),
            Self::Bucket(url) => url.into(),
        }
    }

    /// Reads a small file as a whole.
    pub(super) fn read(&self, settings: &BucketSettings) -> Result<Vec<u8>> {
        match self {
            Self::Local(path) => fs::read(path).map_err(Error::io(path)),
            Self::Bucket(url) => {
                let path = url.trim_start_matches("gs://");
                let Some((folder, name)) = path.rsplit_once('/') else {
                    return Err(Error::Usage(format!(
                        "{url} names no file: gs://bucket/path is needed"
                    )));
                };
                Bucket::open(&format!("gs://{folder}"), settings.clone())?.read(name)
            }
        }
    }
}

/// The step directory of an axlearn checkpoint.
pub(super) enum Source {
    Local(LocalFiles),
    Bucket(BucketFiles),
}

impl Source {
    pub fn open(location: &Location, settings: &BucketSettings) -> Result<Self> {
        Ok(match location {
            Location::Local(dir) => Self::Local(LocalFiles::new(dir)),
            Location::Bucket(url) => Self::Bucket(BucketFiles {
                url: url.clone(),
                bucket: Arc::new(Bucket::open(url, settings.clone())?),
                files: OnceLock::new(),
                spool: OnceLock::new(),
            }),
        })
    }

    /// From here on large files may be fetched, and are kept in `dir` until they are released.
    pub fn begin(&self, dir: &Path) -> Result<()> {
        if let Self::Bucket(bucket) = self {
            let spool = Spool::open(Arc::clone(&bucket.bucket), dir.join("fetched"))?;
            // Only the first call matters, and there is one.
            let _ = bucket.spool.set(spool);
        }
        Ok(())
    }

    /// Nothing more is fetched, and nobody waits for the network any longer.
    pub fn stop(&self) {
        if let Self::Bucket(bucket) = self
            && let Some(spool) = bucket.spool.get()
        {
            spool.stop();
        }
    }

    /// Bytes that came over the network so far.
    pub fn received(&self) -> u64 {
        match self {
            Self::Local(_) => 0,
            Self::Bucket(bucket) => bucket.spool.get().map_or(0, Spool::received),
        }
    }

    /// What tells the content of a file from another of the same size, as far as that can be had without reading
    /// it: the bucket's ETag, or the time of the last change.
    pub fn tag(&self, path: &str) -> Option<String> {
        match self {
            Self::Local(files) => {
                let changed = fs::metadata(files.locate(path)).ok()?.modified().ok()?;
                let since = changed.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                Some(since.as_nanos().to_string())
            }
            Self::Bucket(bucket) => bucket.files.get()?.get(path)?.e_tag.clone(),
        }
    }

    fn files(&self) -> &dyn Files {
        match self {
            Self::Local(files) => files,
            Self::Bucket(files) => files,
        }
    }
}

impl Files for Source {
    fn locate(&self, path: &str) -> PathBuf {
        self.files().locate(path)
    }

    fn list(&self, under: &str) -> Result<BTreeMap<String, u64>> {
        self.files().list(under)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.files().read(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>> {
        self.files().open(path)
    }

    fn distrust(&self, path: &str) -> &'static str {
        self.files().distrust(path)
    }

    fn expect(&self, files: &[(String, u64)]) -> Result<()> {
        self.files().expect(files)
    }

    fn release(&self, files: &[(String, u64)]) -> Result<()> {
        self.files().release(files)
    }
}

/// The files below a `gs://` URL.
pub(super) struct BucketFiles {
    url: String,
    bucket: Arc<Bucket>,
    /// By path; known once they have been listed.
    files: OnceLock<BTreeMap<String, BucketFile>>,
    spool: OnceLock<Spool>,
}

impl BucketFiles {
    fn file(&self, path: &str) -> Result<&BucketFile> {
        let file = self.files.get().and_then(|files| files.get(path));
        file.ok_or_else(|| Error::Checkpoint {
            path: self.locate(path),
            message: "is not in the bucket's listing".into(),
        })
    }

    fn spool(&self) -> Result<&Spool> {
        self.spool.get().ok_or_else(|| {
            Error::Usage("large files are fetched only while a conversion runs".into())
        })
    }
}

impl Files for BucketFiles {
    fn locate(&self, path: &str) -> PathBuf {
        match path {
            "" => self.url.clone().into(),
            path => format!("{}/{path}", self.url).into(),
        }
    }

    fn list(&self, under: &str) -> Result<BTreeMap<String, u64>> {
        let listed = self.bucket.list(under)?;
        let files = listed.into_iter().map(|file| (file.path.clone(), file));
        let files = self.files.get_or_init(|| files.collect());
        let sizes = files.iter().map(|(path, file)| (path.clone(), file.size));
        Ok(sizes.collect())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.bucket.read(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.spool()?.reader(self.file(path)?)))
    }

    fn distrust(&self, path: &str) -> &'static str {
        if let (Ok(spool), Ok(file)) = (self.spool(), self.file(path)) {
            spool.remove(file);
        }
        "what was fetched of it has been removed, run the command again"
    }

    fn expect(&self, files: &[(String, u64)]) -> Result<()> {
        let wanted = files
            .iter()
            .map(|(path, bytes)| Ok((self.file(path)?.clone(), *bytes)));
        self.spool()?.want(&wanted.collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    fn release(&self, files: &[(String, u64)]) -> Result<()> {
        let spool = self.spool()?;
        for (path, _) in files {
            spool.remove(self.file(path)?);
        }
        Ok(())
    }
}
