//! The attnscope binary: parse, dispatch, exit code.

use std::process::ExitCode;

/// A forward pass allocates and frees megabytes with every operation. The system's allocator hands such blocks
/// back at once and pays for them page by page; this one keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    attnscope::commands::main()
}
