//! `trajectories.parquet`: every number at every record.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;

use crate::Result;
use crate::flow::{series::Series, trajectory::Followed};
use crate::store::named_columns::{Column, to_batch};
use crate::store::{Provenance, TableWriter};

/// Rows of a row group, at least: a few small runs share one.
const ROW_GROUP: usize = 1 << 20;
/// Rows that are turned into columns at once, unless one series has more.
const BATCH: usize = 1 << 16;
/// What orders the rows.
const KEY: [&str; 5] = ["run", "quantity", "row", "coordinate", "step"];

/// What the rows of a run say of it.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Its number in the table, from 0; they ascend.
    pub number: i32,
    /// The run.
    pub followed: &'a Followed,
}

/// The table in the making.
pub struct TrajectoryTable {
    writer: TableWriter,
    path: PathBuf,
    in_group: usize,
}

impl TrajectoryTable {
    /// Begins the table, which appears with [`TrajectoryTable::commit`].
    pub fn create(path: &Path, provenance: &Provenance) -> Result<Self> {
        let schema = batch(path, &[])?.schema();
        Ok(Self {
            writer: TableWriter::create(path, &schema, &KEY, provenance)?,
            path: path.to_path_buf(),
            in_group: 0,
        })
    }

    /// Adds a run; they come by number.
    ///
    /// # Errors
    /// Those of [`Followed::series`], and what the disk refuses.
    pub fn write(&mut self, run: Run<'_>) -> Result<()> {
        let all = run.followed.series()?;
        let (mut part, mut rows) = (Vec::new(), 0);
        for series in all.iter() {
            rows += series.records.len();
            part.push((run, series));
            if rows >= BATCH {
                self.write_part(&part, rows)?;
                part.clear();
                rows = 0;
            }
        }
        self.write_part(&part, rows)
    }

    /// A row group ends where a series does: a curve is one piece, and no group grows with the run.
    fn write_part(&mut self, part: &[(Run<'_>, Series<'_>)], rows: usize) -> Result<()> {
        if rows > 0 {
            self.writer.write(&batch(&self.path, part)?)?;
            self.in_group += rows;
        }
        if self.in_group >= ROW_GROUP {
            self.writer.end_row_group()?;
            self.in_group = 0;
        }
        Ok(())
    }

    /// Writes the footer and gives the file its name.
    pub fn commit(mut self) -> Result<()> {
        if self.in_group > 0 {
            self.writer.end_row_group()?;
        }
        self.writer.commit_new()
    }
}

fn batch(path: &Path, all: &[(Run<'_>, Series<'_>)]) -> Result<RecordBatch> {
    // One row after the other; `of` says what a series has in each of its rows.
    fn rows<'a, T: Copy + 'a>(
        all: &'a [(Run<'a>, Series<'a>)],
        of: impl Fn(Run<'a>, &'a Series<'a>) -> T + 'a,
    ) -> impl Iterator<Item = T> + 'a {
        all.iter().flat_map(move |(run, series)| {
            std::iter::repeat_n(of(*run, series), series.records.len())
        })
    }
    let model = |run: Run<'_>| run.followed.run.problem.model().positions() as i32;
    let when = |(run, series): &(Run<'_>, Series<'_>)| {
        let trajectory = &run.followed.trajectory;
        let records = series.records.clone();
        let updates = trajectory.updates[records.clone()].iter().copied();
        let times = trajectory.times[records].iter().copied();
        updates.zip(times).collect::<Vec<(u64, f64)>>()
    };
    let times: Vec<(u64, f64)> = all.iter().flat_map(when).collect();
    let place = |place: Option<usize>| place.map(|place| place as i32);
    let values = all.iter().flat_map(|(_, series)| series.values());
    to_batch(
        path,
        vec![
            Column::int32("run", rows(all, |run, _| run.number)),
            Column::words(
                "experiment",
                rows(all, |run, _| run.followed.run.experiment),
            ),
            Column::words("sigma", rows(all, |run, _| run.followed.run.sigma().name())),
            Column::int32("dim", rows(all, move |run, _| model(run))),
            Column::some_float64(
                "condition_number",
                rows(all, |run, _| run.followed.run.condition_number),
            ),
            Column::int64("seed", rows(all, |run, _| i64::from(run.followed.run.seed))),
            Column::words("quantity", rows(all, |_, series| series.quantity.name())),
            Column::some_int32("row", rows(all, move |_, series| place(series.row))),
            Column::some_int32(
                "coordinate",
                rows(all, move |_, series| place(series.coordinate)),
            ),
            Column::int64("step", times.iter().map(|(step, _)| *step as i64)),
            Column::float64("time", times.iter().map(|(_, time)| *time)),
            // An entropy that is undefined is no number.
            Column::number_or_null("value", values),
        ],
    )
}
