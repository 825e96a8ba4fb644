//! Where the tasks write.

use crate::metrics::RowStatistics;

/// The results of all tasks, written from many threads to disjoint places.
pub struct Outputs {
    max: *mut f32,
    argmax: *mut u32,
    total: *mut f32,
    first: *mut f32,
    entropy: *mut f32,
    output: *mut f32,
    output_len: usize,
    rows: usize,
    tokens: usize,
    width: usize,
}

// SAFETY: the pointers are only written through, at places that no two tasks share.
unsafe impl Sync for Outputs {}

impl Outputs {
    /// Results of `tokens` tokens of `width` columns.
    pub fn new(rows: &mut RowStatistics, output: &mut [f32], tokens: usize, width: usize) -> Self {
        Self {
            max: rows.max.as_mut_ptr(),
            argmax: rows.argmax.as_mut_ptr(),
            total: rows.total.as_mut_ptr(),
            first: rows.first.as_mut_ptr(),
            entropy: rows.entropy.as_mut_ptr(),
            output: output.as_mut_ptr(),
            output_len: output.len(),
            rows: rows.max.len(),
            tokens,
            width,
        }
    }

    /// Writes the statistics of a row.
    ///
    /// # Safety
    /// No other thread may write the same (head, token).
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn write_row(
        &self,
        head: usize,
        token: usize,
        max: f32,
        argmax: u32,
        total: f32,
        first: f32,
        entropy: f32,
    ) {
        let at = head * self.tokens + token;
        assert!(at < self.rows);
        // SAFETY: `at` is within all five arrays, which have the same length.
        unsafe {
            *self.max.add(at) = max;
            *self.argmax.add(at) = argmax;
            *self.total.add(at) = total;
            *self.first.add(at) = first;
            *self.entropy.add(at) = entropy;
        }
    }

    /// Writes `values` to the columns of a token from `column` on.
    ///
    /// # Safety
    /// No other thread may write the same columns of the same token.
    pub unsafe fn write_output(&self, token: usize, column: usize, values: &[f32]) {
        let at = token * self.width + column;
        assert!(at + values.len() <= self.output_len);
        // SAFETY: the range is within the output, and `values` is another allocation.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.output.add(at), values.len()) }
    }
}
