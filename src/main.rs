//! argv to exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(heatgate::cli::main(std::env::args_os()))
}
