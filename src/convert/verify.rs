//! Reading a result back.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::elements::Checksum;
use crate::{
    Error, Result,
    checkpoint::{Checkpoint, TensorSpec},
};

/// The SHA-256 of a file. `read` is told of every part that has been read; an error from it ends the work.
pub(super) fn sha256(path: &Path, read: &dyn Fn(u64) -> Result<()>) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(crate::hex(&hash.finalize())),
            Ok(length) => {
                hash.update(&buffer[..length]);
                read(length as u64)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(path)(error)),
        }
    }
}

/// Reads every tensor of the checkpoint in `dir` and compares its checksum with the one that was taken of the
/// source.
///
/// # Errors
/// [`Error::Checkpoint`] naming all tensors that differ; and as [`Checkpoint::open`] and [`Checkpoint::check`].
pub(super) fn verify(
    dir: &Path,
    tensors: &[TensorSpec],
    expected: &BTreeMap<String, u64>,
    read: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<()> {
    let checkpoint = Checkpoint::open(dir)?;
    checkpoint.check(tensors)?;
    let differs = |spec: &&TensorSpec| -> Option<Result<String>> {
        let checksum = checksum(&checkpoint, spec).and_then(|(found, bytes)| {
            read(bytes)?;
            Ok(found)
        });
        match checksum {
            Ok(found) if expected.get(&spec.name) == Some(&found) => None,
            Ok(_) => Some(Ok(spec.name.clone())),
            Err(error) => Some(Err(error)),
        }
    };
    let wrong = tensors.par_iter().filter_map(|spec| differs(&spec));
    let wrong: Vec<String> = wrong.collect::<Result<_>>()?;
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::Checkpoint {
        path: dir.to_path_buf(),
        message: format!(
            "{} of {} tensors are not what the source has: {}; remove the directory and convert again",
            wrong.len(),
            tensors.len(),
            wrong.join(", ")
        ),
    })
}

/// The checksum of a tensor, and how many bytes it has.
fn checksum(checkpoint: &Checkpoint, spec: &TensorSpec) -> Result<(u64, u64)> {
    // `check` has found every tensor.
    let Some(entry) = checkpoint.get(&spec.name) else {
        return Ok((0, 0));
    };
    let path = &checkpoint.files()[entry.file];
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(Error::io(path))?);
    file.seek(SeekFrom::Start(entry.offset))
        .map_err(Error::io(path))?;
    let (rows, columns) = match spec.shape[..] {
        [rows, columns] => (rows, columns),
        _ => (spec.shape.iter().product(), 1),
    };
    let size = entry.dtype.bitsize() / 8;
    let sum = match size {
        2 => lines::<2>(&mut file, rows, columns),
        _ => lines::<4>(&mut file, rows, columns),
    };
    let bytes = (rows * columns * size) as u64;
    Ok((sum.map_err(Error::io(path))?, bytes))
}

fn lines<const N: usize>(
    file: &mut impl Read,
    rows: usize,
    columns: usize,
) -> std::io::Result<u64> {
    let checksum = Checksum::of_rows(0..columns);
    let mut line = vec![[0u8; N]; columns];
    let mut sum = 0u64;
    for row in 0..rows {
        file.read_exact(line.as_flattened_mut())?;
        sum = sum.wrapping_add(checksum.share(row, &line));
    }
    Ok(sum)
}
