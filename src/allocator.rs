//! The allocator of the binary and of the benchmarks.
//!
//! A forward pass allocates and frees megabytes with every operation. The system's allocator hands such
//! blocks back to the kernel at once and pays for them again page by page: a seventh of the processor time of
//! a small model's scan. mimalloc keeps them.

/// To be made the `#[global_allocator]` of a program.
pub use mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, versions 2 and 3 alike; the binding does not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed memory for the next allocation instead of returning it after a moment. For a program whose
/// memory goes up and down in one rhythm from start to end, as a scan's does; to be called first in `main`.
pub fn keep_freed_memory() {
    // SAFETY: sets one of mimalloc's options, which may be done at any time from any thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}
