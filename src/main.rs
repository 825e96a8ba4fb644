//! The attnscope binary: parse, dispatch, exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: attnscope::allocator::MiMalloc = attnscope::allocator::MiMalloc;

fn main() -> ExitCode {
    attnscope::allocator::keep_freed_memory();
    attnscope::commands::main()
}
