//! Matrix products of blocks, on one thread.

use gemm::Parallelism;

use super::cpu::Rows;

/// A strided (rows, columns) view for the matrix product.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f32],
    rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Part of `source`: `rows` rows from `row` on, `columns` columns from `column` on.
    pub fn new(source: &Rows<'a>, row: usize, column: usize, rows: usize, columns: usize) -> Self {
        Self {
            data: &source.data[row * source.stride + column..],
            rows,
            columns,
            row_stride: source.stride,
            column_stride: 1,
        }
    }

    /// A matrix without gaps.
    pub fn dense(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// Rows as columns; nothing is moved.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Whether every element the view names exists.
    fn is_within(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.data.len()
    }
}

/// `out (+)= lhs · rhs`, on this thread; `out` is a dense (rows, columns) matrix.
pub fn multiply(out: &mut [f32], rows: usize, columns: usize, lhs: Matrix, rhs: Matrix, add: bool) {
    assert!(out.len() == rows * columns && lhs.rows == rows && rhs.columns == columns);
    assert!(lhs.columns == rhs.rows && lhs.is_within() && rhs.is_within());
    // SAFETY: the assertions hold every access of the product within the three slices, and `out` is
    // borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            lhs.columns,
            out.as_mut_ptr(),
            1,
            columns as isize,
            add,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
