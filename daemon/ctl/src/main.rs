// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl`: shows people and scripts what Protheap knows. It changes nothing.

#![forbid(unsafe_code)]

mod draft;
mod explain;
mod firmware;
mod last_run;
mod machine;
mod tame;

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Shows what Protheap knows
#[derive(Debug, Parser)]
#[command(
    name = "protheapctl",
    version,
    after_help = "Exit status: 0 if it was done, 1 if it failed, 2 for wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One noun each, in a file of its name.
#[derive(Debug, Subcommand)]
enum Command {
    /// Print a first policy for a board, of what can be seen of it
    Draft(draft::Args),
    /// Say which policy applies to a machine, which heap that means, and why
    Explain(explain::Args),
    /// Print the sections of a GPU's firmware image, and the protected memory that it needs
    Firmware(firmware::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Draft(args) => draft::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Firmware(args) => firmware::run(&args),
    };
    match done.and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed too, the exit status is all that can be said.
            let _ = writeln!(io::stderr(), "protheapctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a result. A reader that left early, such as `head`, has had what it wanted.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the result to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_options_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }
}
