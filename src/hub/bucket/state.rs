//! What is wanted, what is there, and what comes next. No files and no connections here.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::BucketFile;
use super::answer;
use super::pieces::Names;
use crate::error::Error;

/// Pieces behind the one that is asked for that are fetched too, where nobody said what will be wanted.
const READ_AHEAD: u64 = 2;

/// When a piece is fetched: first what a reader waits for, in the order of asking; then piece 0 of every
/// wanted file, piece 1 of every file, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Asked(u64),
    Wanted { piece: u64, file: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Absent,
    Queued(Turn),
    Fetching,
    Here,
}

/// What a reader gets to know about a piece.
pub(super) enum Lookup {
    Here,
    /// It has been asked for.
    Coming,
    /// Fetching something of this file has failed.
    Failed(Error),
}

/// What the server states about the contents of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) e_tag: Option<String>,
    pub(super) crc32c: Option<u32>,
}

struct Slot {
    stage: Stage,
    /// Whether its bytes are among those of [`State::totals`].
    counted: bool,
}

struct Download {
    file: BucketFile,
    names: Names,
    order: u64,
    slots: Vec<Slot>,
    /// Pieces from the beginning that somebody said would be wanted.
    wanted: u64,
    contents: Option<Contents>,
    failure: Option<Error>,
    /// Set when nobody wants the file any more; its transfers end then. Also tells this download of the file
    /// from a later one.
    cancelled: Arc<AtomicBool>,
}

/// A piece to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) file: BucketFile,
    pub(super) names: Names,
    pub(super) index: u64,
    /// Where it begins in the file.
    pub(super) start: u64,
    /// Its bytes.
    pub(super) length: u64,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// All downloads of a spool.
pub(super) struct State {
    piece: u64,
    downloads: HashMap<String, Download>,
    queue: BTreeMap<Turn, (String, u64)>,
    /// For [`Turn::Asked`] and [`Download::order`].
    counter: u64,
    wanted_bytes: u64,
    here_bytes: u64,
}

impl State {
    /// `piece` is the length of all pieces but the last one of a file.
    pub(super) fn new(piece: u64) -> State {
        State {
            piece,
            downloads: HashMap::new(),
            queue: BTreeMap::new(),
            counter: 0,
            wanted_bytes: 0,
            here_bytes: 0,
        }
    }

    /// Bytes that were ever wanted, and how many of these are or were there. What was removed before it
    /// arrived is not wanted.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.wanted_bytes, self.here_bytes)
    }

    pub(super) fn knows(&self, file: &BucketFile) -> bool {
        self.downloads
            .get(&file.path)
            .is_some_and(|download| download.file == *file)
    }

    /// Whether such a piece is one of the file's.
    pub(super) fn fits(&self, file: &BucketFile, offset: u64, length: u64) -> bool {
        offset.is_multiple_of(self.piece)
            && offset < file.size
            && length == self.piece.min(file.size - offset)
    }

    /// Takes on a file, of which the pieces at these offsets are there.
    pub(super) fn adopt(&mut self, file: &BucketFile, names: Names, there: &[(u64, u64)]) {
        let count = file.size.div_ceil(self.piece);
        let mut slots: Vec<Slot> = (0..count)
            .map(|_| Slot {
                stage: Stage::Absent,
                counted: false,
            })
            .collect();
        for (offset, _) in there {
            if let Some(slot) = slots.get_mut((offset / self.piece) as usize) {
                slot.stage = Stage::Here;
            }
        }
        self.counter += 1;
        let download = Download {
            file: file.clone(),
            names,
            order: self.counter,
            slots,
            wanted: 0,
            contents: None,
            failure: None,
            cancelled: Arc::default(),
        };
        self.downloads.insert(file.path.clone(), download);
    }

    /// Queues the pieces of the first `bytes` bytes of a file that was adopted.
    pub(super) fn want(&mut self, path: &str, bytes: u64) {
        let Some(download) = self.downloads.get_mut(path) else {
            return;
        };
        let count = bytes.div_ceil(self.piece).min(download.slots.len() as u64);
        download.wanted = download.wanted.max(count);
        let file = download.order;
        for piece in 0..count {
            self.enqueue(path, piece, Turn::Wanted { piece, file });
        }
    }

    /// Asks for a piece on behalf of a reader that cannot go on without it.
    pub(super) fn ask(&mut self, path: &str, index: u64) -> Lookup {
        let Some(download) = self.downloads.get_mut(path) else {
            return Lookup::Coming;
        };
        let Some(slot) = download.slots.get(index as usize) else {
            return Lookup::Coming;
        };
        let (stage, wanted, count) = (slot.stage, download.wanted, download.slots.len() as u64);
        if stage == Stage::Absent
            && let Some(error) = download.failure.take()
        {
            return Lookup::Failed(error);
        }
        // Where something has just failed, no more is begun than the reader insists on.
        let read_ahead = match download.failure {
            Some(_) => 0,
            None => READ_AHEAD,
        };
        let ahead = (index + 1..=index + read_ahead).filter(|piece| *piece >= wanted);
        for piece in std::iter::once(index)
            .chain(ahead)
            .filter(|piece| *piece < count)
        {
            self.counter += 1;
            self.enqueue(path, piece, Turn::Asked(self.counter));
        }
        match stage {
            Stage::Here => Lookup::Here,
            _ => Lookup::Coming,
        }
    }

    /// Puts a piece that is absent into the queue, or forward if it is there already.
    fn enqueue(&mut self, path: &str, index: u64, turn: Turn) {
        let length = self.length(path, index);
        let Some(slot) = self.slot(path, index) else {
            return;
        };
        let was_counted = mem::replace(&mut slot.counted, true);
        let stage = slot.stage;
        let old = match stage {
            Stage::Absent => None,
            Stage::Queued(old @ Turn::Wanted { .. }) if turn < old => Some(old),
            _ => {
                if !was_counted {
                    self.wanted_bytes += length;
                    self.here_bytes += if stage == Stage::Here { length } else { 0 };
                }
                return;
            }
        };
        slot.stage = Stage::Queued(turn);
        if !was_counted {
            self.wanted_bytes += length;
        }
        if let Some(old) = old {
            self.queue.remove(&old);
        }
        self.queue.insert(turn, (path.to_owned(), index));
    }

    fn slot(&mut self, path: &str, index: u64) -> Option<&mut Slot> {
        self.downloads.get_mut(path)?.slots.get_mut(index as usize)
    }

    /// Bytes of a piece.
    pub(super) fn length(&self, path: &str, index: u64) -> u64 {
        let size = self
            .downloads
            .get(path)
            .map_or(0, |download| download.file.size);
        self.piece_length(size, index)
    }

    fn piece_length(&self, size: u64, index: u64) -> u64 {
        self.piece.min(size.saturating_sub(index * self.piece))
    }

    /// The next piece to be fetched, which is then being fetched.
    pub(super) fn next(&mut self) -> Option<Job> {
        loop {
            let (_, (path, index)) = self.queue.pop_first()?;
            let length = self.length(&path, index);
            let Some(download) = self.downloads.get_mut(&path) else {
                continue;
            };
            let Some(slot) = download.slots.get_mut(index as usize) else {
                continue;
            };
            slot.stage = Stage::Fetching;
            return Some(Job {
                file: download.file.clone(),
                names: download.names.clone(),
                index,
                start: index * self.piece,
                length,
                cancelled: Arc::clone(&download.cancelled),
            });
        }
    }

    /// The download that a job belongs to, unless that has been removed meanwhile.
    fn of(&mut self, job: &Job) -> Option<&mut Download> {
        self.downloads
            .get_mut(&job.file.path)
            .filter(|download| Arc::ptr_eq(&download.cancelled, &job.cancelled))
    }

    pub(super) fn is_current(&mut self, job: &Job) -> bool {
        self.of(job).is_some()
    }

    /// The piece is in its place.
    pub(super) fn arrived(&mut self, job: &Job) {
        if let Some(download) = self.of(job)
            && let Some(slot) = download.slots.get_mut(job.index as usize)
        {
            slot.stage = Stage::Here;
            if slot.counted {
                self.here_bytes += job.length;
            }
        }
    }

    /// The piece will not come. Nothing more of the file is fetched before somebody asks for it again.
    pub(super) fn failed(&mut self, job: &Job, error: Error) {
        let Some(download) = self.of(job) else {
            return;
        };
        download.failure.get_or_insert(error);
        let mut queued = Vec::new();
        for (index, slot) in (0u64..).zip(&mut download.slots) {
            match slot.stage {
                Stage::Queued(turn) => queued.push(turn),
                Stage::Fetching if index == job.index => {}
                _ => continue,
            }
            slot.stage = Stage::Absent;
        }
        for turn in queued {
            self.queue.remove(&turn);
        }
    }

    /// Notes what an answer states about an object. The error says why it is not the object that an earlier
    /// answer was about.
    pub(super) fn identify(
        &mut self,
        path: &str,
        e_tag: Option<&str>,
        crc32c: Option<u32>,
    ) -> Result<(), String> {
        let Some(download) = self.downloads.get_mut(path) else {
            return Ok(());
        };
        let known = download.contents.get_or_insert_with(|| Contents {
            e_tag: e_tag.map(str::to_owned),
            crc32c,
        });
        known.crc32c = known.crc32c.or(crc32c);
        match (&known.e_tag, e_tag) {
            (Some(then), Some(now)) if then != now => Err(answer::changed(then, now)),
            _ => Ok(()),
        }
    }

    pub(super) fn contents(&self, path: &str) -> Option<Contents> {
        self.downloads.get(path)?.contents.clone()
    }

    /// Forgets a file. Returns its names and the `(offset, length)` of the pieces that are there.
    pub(super) fn remove(&mut self, path: &str) -> Option<(Names, Vec<(u64, u64)>)> {
        let download = self.downloads.remove(path)?;
        download.cancelled.store(true, Ordering::Relaxed);
        let mut there = Vec::new();
        for (index, slot) in (0u64..).zip(&download.slots) {
            let length = self.piece_length(download.file.size, index);
            match slot.stage {
                Stage::Here => there.push((index * self.piece, length)),
                _ if slot.counted => self.wanted_bytes -= length,
                _ => {}
            }
            if let Stage::Queued(turn) = slot.stage {
                self.queue.remove(&turn);
            }
        }
        Some((download.names, there))
    }

    /// A piece that was there is not usable; it will be fetched again when somebody asks.
    pub(super) fn lost(&mut self, path: &str, index: u64) {
        let length = self.length(path, index);
        if let Some(slot) = self.slot(path, index)
            && slot.stage == Stage::Here
        {
            slot.stage = Stage::Absent;
            if slot.counted {
                self.here_bytes -= length;
            }
        }
    }
}
