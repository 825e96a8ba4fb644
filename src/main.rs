//! The attnscope binary: parse, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    attnscope::commands::main()
}
