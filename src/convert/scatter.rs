//! One array into its tensors, as a stream.
//!
//! A chunk usually spans all layers, and the chunks of a weight split one of its matrices' axes. So all chunks
//! that hold parts of the same matrix are read side by side: one step takes from each of them its part of one
//! matrix (or of a band of it), turns it around, and writes the rows of the tensor with the parts put together.
//! Every byte is read once and written once, in long runs, and what is in memory is one matrix and the windows of
//! the decoders, whatever the size of a chunk.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    elements::{Checksum, FloatType, Output},
    mapping::MappedArray,
};
use crate::{
    Error, Result,
    checkpoint::{
        OutputFiles,
        axlearn::{Array, AxlearnCheckpoint, ChunkReader, Files, unravel},
    },
};

/// What bounds the memory of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Chunks that are read side by side. More than that are taken in several passes, each of which writes its
    /// part of every row.
    pub streams: usize,
    /// Bytes of a matrix that are put together at once.
    pub band: usize,
    /// Bytes of a chunk that are unpacked at once.
    pub block: usize,
    /// Bytes that are gathered before they are written.
    pub write: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 64,
            band: 192 << 20,
            block: 1 << 20,
            write: 4 << 20,
        }
    }
}

/// What a conversion of an array needs beside the array.
pub(super) struct Scatter<'a, F> {
    pub checkpoint: &'a AxlearnCheckpoint<F>,
    pub output: &'a OutputFiles<'a>,
    pub limits: Limits,
    /// Told how many bytes have been written.
    pub written: &'a (dyn Fn(u64) + Sync),
    /// Asked between steps; an error ends the work.
    pub go_on: &'a (dyn Fn() -> Result<()> + Sync),
}

impl<F: Files> Scatter<'_, F> {
    /// Writes all tensors of `mapped`, which `array` becomes, and returns their checksums.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the chunk that is damaged, or [`Error::TensorMismatch`] if the array is not
    /// of a type that weights have.
    pub fn run<const N: usize>(
        &self,
        array: &Array,
        mapped: &MappedArray,
        output: &dyn Output<N>,
    ) -> Result<Vec<u64>> {
        let Some(from) = FloatType::new(array.layout.element_type) else {
            return Err(Error::TensorMismatch {
                path: self.checkpoint.files().locate(""),
                tensor: mapped.source.clone(),
                expected: "element type float32, bfloat16 or float16".into(),
                found: array.layout.element_type.name().into(),
            });
        };
        let mut sums = vec![0u64; mapped.tensors.len()];
        let grid = array.layout.grid();
        let (outer_grid, matrix_grid) = grid.split_at(mapped.outer);
        for outer in 0..outer_grid.iter().product() {
            let outer = unravel(outer, outer_grid);
            let frame = Frame::new(array, mapped, &outer);
            if frame.tensor(0) >= mapped.tensors.len() {
                continue; // Layers that are not wanted.
            }
            let cells: Vec<usize> = (0..matrix_grid.iter().product()).collect();
            for cells in cells.chunks(self.limits.streams) {
                let mut pass = Pass::open(self, &frame, cells, from)?;
                pass.run(output, &mut sums)?;
            }
        }
        Ok(sums)
    }
}

/// The matrices that one row of chunks along the outer axes holds: what is the same for all its chunks.
struct Frame<'a> {
    array: &'a Array,
    mapped: &'a MappedArray,
    /// Place in the grid of the outer axes.
    outer: &'a [usize],
    /// Lengths of A and B.
    matrix: [usize; 2],
    /// Along A: chunks, and rows of each.
    cells_a: usize,
    rows: usize,
    /// Along B: for each chunk, its runs of neighbouring columns as (column, column within the chunk, length).
    cells_b: Vec<Vec<Run>>,
    /// Columns of each chunk.
    columns: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    column: usize,
    within: usize,
    length: usize,
}

impl<'a> Frame<'a> {
    fn new(array: &'a Array, mapped: &'a MappedArray, outer: &'a [usize]) -> Self {
        let layout = &array.layout;
        let (shape, chunks) = (
            &layout.shape[mapped.outer..],
            &layout.chunks[mapped.outer..],
        );
        let grid = &layout.grid()[mapped.outer..];
        let cells = (0..grid[1..].iter().product()).map(|cell| unravel(cell, &grid[1..]));
        Self {
            array,
            mapped,
            outer,
            matrix: [shape[0], shape[1..].iter().product()],
            cells_a: grid[0],
            rows: chunks[0],
            cells_b: cells
                .map(|cell| runs(&shape[1..], &chunks[1..], &cell))
                .collect(),
            columns: chunks[1..].iter().product(),
        }
    }

    /// Which tensor the `matrix`-th matrix of the chunks is.
    fn tensor(&self, matrix: usize) -> usize {
        self.mapped.tensor(&self.array.layout, self.outer, matrix)
    }

    /// The rows of `band` that the chunks at `cell` along A hold.
    fn rows_in(&self, cell: usize, band: &Range<usize>) -> Range<usize> {
        let start = band.start.max(cell * self.rows);
        let end = band.end.min((cell + 1) * self.rows);
        start..end.max(start)
    }
}

/// The columns that a chunk covers, of the axes that together are B.
fn runs(shape: &[usize], chunks: &[usize], cell: &[usize]) -> Vec<Run> {
    // The innermost axes that are not split make a run, and the one outside them that is.
    let split = shape
        .iter()
        .zip(chunks)
        .rposition(|(size, chunk)| size != chunk);
    let split = split.unwrap_or(0);
    let length: usize = chunks[split.min(chunks.len())..].iter().product();
    let outside = &chunks[..split.min(chunks.len())];
    (0..outside.iter().product::<usize>())
        .map(|i| {
            let mut first = unravel(i, outside);
            first.resize(shape.len(), 0);
            let column = (0..shape.len()).fold(0, |flat, axis| {
                flat * shape[axis] + cell[axis] * chunks[axis] + first[axis]
            });
            Run {
                column,
                within: i * length,
                length,
            }
        })
        .collect()
}

/// Chunks of a [`Frame`] that are read side by side.
struct Pass<'a, F, const N: usize> {
    scatter: &'a Scatter<'a, F>,
    frame: &'a Frame<'a>,
    streams: Vec<Stream<N>>,
    /// The stream of each cell of the matrix, row after row; `None` for those of another pass.
    of_cell: Vec<Option<usize>>,
    from: FloatType,
}

/// One chunk, being read.
struct Stream<const N: usize> {
    place: Vec<usize>,
    reader: ChunkReader,
    /// Of A and B.
    cell: [usize; 2],
    checksum: Checksum,
    sum: u64,
    /// Its part of the band, in the order of the tensor.
    part: Vec<[u8; N]>,
}

/// Room for a block of a chunk, one for each thread.
struct Scratch<const N: usize> {
    raw: Vec<u8>,
    encoded: Vec<[u8; N]>,
}

impl<'a, F: Files, const N: usize> Pass<'a, F, N> {
    fn open(
        scatter: &'a Scatter<'a, F>,
        frame: &'a Frame<'a>,
        cells: &[usize],
        from: FloatType,
    ) -> Result<Self> {
        let grid = frame.array.layout.grid();
        let cells_b = frame.cells_b.len();
        let mut of_cell = vec![None; frame.cells_a * cells_b];
        let streams = cells.iter().enumerate().map(|(i, &cell)| {
            of_cell[cell] = Some(i);
            let mut place = frame.outer.to_vec();
            place.extend(unravel(cell, &grid[frame.mapped.outer..]));
            let reader = scatter.checkpoint.chunk(frame.array, &place)?;
            let cell = [cell / cells_b, cell % cells_b];
            let covered = frame.cells_b[cell[1]].iter();
            let covered = covered.flat_map(|run| run.column..run.column + run.length);
            Ok(Stream {
                place,
                reader,
                cell,
                checksum: match frame.mapped.transposed {
                    true => Checksum::of_columns(covered),
                    false => Checksum::of_rows(covered),
                },
                sum: 0,
                part: Vec::new(),
            })
        });
        let streams = streams.collect::<Result<_>>()?;
        Ok(Self {
            scatter,
            frame,
            streams,
            of_cell,
            from,
        })
    }

    fn run(&mut self, output: &dyn Output<N>, sums: &mut [u64]) -> Result<()> {
        let [rows, columns] = self.frame.matrix;
        let band = (self.scatter.limits.band / (columns * N)).clamp(1, rows);
        for matrix in 0..self.frame.mapped.matrices(&self.frame.array.layout) {
            let tensor = self.frame.tensor(matrix);
            let Some(sum) = sums.get_mut(tensor) else {
                return Ok(()); // From here on, layers that are not wanted.
            };
            for start in (0..rows).step_by(band) {
                (self.scatter.go_on)()?;
                let band = start..(start + band).min(rows);
                self.read(&band, output)?;
                self.write(&band, tensor)?;
            }
            for stream in &mut self.streams {
                *sum = sum.wrapping_add(std::mem::take(&mut stream.sum));
            }
        }
        self.streams.drain(..).try_for_each(|stream| {
            let Stream { reader, place, .. } = stream;
            reader.finish().map_err(|error| {
                self.scatter
                    .checkpoint
                    .chunk_error(self.frame.array, &place, error)
            })
        })
    }

    /// Takes from every chunk its part of the rows `band` of the current matrix.
    fn read(&mut self, band: &Range<usize>, output: &dyn Output<N>) -> Result<()> {
        let (frame, scatter, from) = (self.frame, self.scatter, self.from);
        let scratch = || Scratch {
            raw: Vec::new(),
            encoded: Vec::new(),
        };
        let read = |scratch: &mut Scratch<N>, stream: &mut Stream<N>| {
            let rows = frame.rows_in(stream.cell[0], band);
            stream
                .read(frame, scratch, scatter.limits.block, rows, from, output)
                .map_err(|error| {
                    scatter
                        .checkpoint
                        .chunk_error(frame.array, &stream.place, error)
                })
        };
        self.streams.par_iter_mut().try_for_each_init(scratch, read)
    }

    /// Writes the rows or columns `band` of the current matrix, as far as this pass has them, in the order of
    /// the tensor.
    fn write(&self, band: &Range<usize>, tensor: usize) -> Result<()> {
        let frame = self.frame;
        let [rows, columns] = frame.matrix;
        let mut runs: Vec<(Run, usize)> = Vec::new();
        for (cell, of_cell) in frame.cells_b.iter().enumerate() {
            runs.extend(of_cell.iter().map(|run| (*run, cell)));
        }
        runs.sort_unstable_by_key(|(run, _)| run.column);
        let part = |a: usize, b: usize| {
            let stream = self.of_cell[a * frame.cells_b.len() + b]?;
            Some(self.streams[stream].part.as_slice())
        };
        let cells_a = (0..frame.cells_a)
            .map(|a| (a, frame.rows_in(a, band)))
            .filter(|(_, rows)| !rows.is_empty());
        let cells_a: Vec<(usize, Range<usize>)> = cells_a.collect();
        let mut writer = Writer {
            output: self.scatter.output,
            written: self.scatter.written,
            limit: self.scatter.limits.write,
            tensor: &frame.mapped.tensors[tensor].name,
            offset: 0,
            bytes: Vec::new(),
        };
        if frame.mapped.transposed {
            for (run, b) in runs {
                for i in 0..run.length {
                    for (a, of_a) in &cells_a {
                        let Some(part) = part(*a, b) else { continue };
                        let from = (run.within + i) * of_a.len();
                        let element = (run.column + i) * rows + of_a.start;
                        writer.put(element, &part[from..from + of_a.len()])?;
                    }
                }
            }
        } else {
            for (a, of_a) in &cells_a {
                for row in of_a.clone() {
                    for &(run, b) in &runs {
                        let Some(part) = part(*a, b) else { continue };
                        let from = (row - of_a.start) * frame.columns + run.within;
                        let element = row * columns + run.column;
                        writer.put(element, &part[from..from + run.length])?;
                    }
                }
            }
        }
        writer.flush()
    }
}

impl<const N: usize> Stream<N> {
    /// Reads `rows` of the current matrix, which are the next ones of the chunk, into `part`.
    fn read(
        &mut self,
        frame: &Frame,
        scratch: &mut Scratch<N>,
        block: usize,
        rows: Range<usize>,
        from: FloatType,
        output: &dyn Output<N>,
    ) -> std::io::Result<()> {
        let columns = frame.columns;
        let row_bytes = columns * frame.array.layout.element_type.size();
        let count = rows.len();
        self.part.clear();
        if frame.mapped.transposed {
            self.part.resize(count * columns, [0; N]);
        }
        let step = (block / row_bytes).max(1);
        for start in rows.clone().step_by(step) {
            let height = step.min(rows.end - start);
            scratch.raw.resize(height * row_bytes, 0);
            self.reader.fill(&mut scratch.raw)?;
            let encoded = match frame.mapped.transposed {
                true => {
                    scratch.encoded.clear();
                    output.encode(from, &scratch.raw, &mut scratch.encoded);
                    let first = start - rows.start;
                    transpose(&scratch.encoded, columns, &mut self.part, count, first);
                    &scratch.encoded[..]
                }
                false => {
                    let end = self.part.len();
                    output.encode(from, &scratch.raw, &mut self.part);
                    &self.part[end..]
                }
            };
            for (i, line) in encoded.chunks_exact(columns).enumerate() {
                let share = self.checksum.share(start + i, line);
                self.sum = self.sum.wrapping_add(share);
            }
        }
        Ok(())
    }
}

/// Puts the rows of `from`, each of `columns` elements, into `to` as columns, beginning with column `first`; the
/// rows of `to` have `width` elements.
fn transpose<const N: usize>(
    from: &[[u8; N]],
    columns: usize,
    to: &mut [[u8; N]],
    width: usize,
    first: usize,
) {
    /// Columns that are turned at once: their beginnings stay in the cache.
    const TILE: usize = 16;
    let height = from.len() / columns;
    for tile in (0..columns).step_by(TILE) {
        for column in tile..(tile + TILE).min(columns) {
            let to = &mut to[column * width + first..][..height];
            for (row, element) in to.iter_mut().enumerate() {
                *element = from[row * columns + column];
            }
        }
    }
}

/// Gathers what is written side by side.
struct Writer<'a> {
    output: &'a OutputFiles<'a>,
    written: &'a (dyn Fn(u64) + Sync),
    limit: usize,
    tensor: &'a str,
    offset: u64,
    bytes: Vec<u8>,
}

impl Writer<'_> {
    /// Writes `elements` from the element `at` of the tensor on.
    fn put<const N: usize>(&mut self, at: usize, elements: &[[u8; N]]) -> Result<()> {
        let offset = (at * N) as u64;
        if self.offset + self.bytes.len() as u64 != offset || self.bytes.len() >= self.limit {
            self.flush()?;
            self.offset = offset;
        }
        self.bytes.extend_from_slice(elements.as_flattened());
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.output.write(self.tensor, self.offset, &self.bytes)?;
        (self.written)(self.bytes.len() as u64);
        self.bytes.clear();
        Ok(())
    }
}
