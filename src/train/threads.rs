//! Which threads training runs on.

/// Keeps candle from starting threads of its own beside rayon's, among which training shares a batch.
///
/// candle hands elementwise operations of 65,536 elements and more, such as the sums of a wide layer's gradients, to one
/// pool of its own (`candle_core::utils::barrier_pool`): callers wait for each other, and spin until its threads had
/// their turn. With all cores at work on parts of a batch already, two threads are slower with it than one.
///
/// It is the whole process that does without: the variable `CANDLE_NUM_THREADS` is set unless it is, and candle's pool is
/// made, if it has not been. rayon's threads, and with them matrix products, remain as many as there were.
///
/// # Safety
/// Sets a variable of the environment: no other thread may be running. To be called early in `main`.
pub unsafe fn leave_threads_to_rayon() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        // SAFETY: as the caller has promised.
        unsafe { std::env::set_var(THREADS, "1") };
    }
    candle_core::utils::barrier_pool();
}
