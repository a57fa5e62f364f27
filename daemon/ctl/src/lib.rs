// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl`: shows people and scripts what Protheap knows.
//!
//! It is a library so that its man pages and completions can be made without a word of that in the
//! program.

#![forbid(unsafe_code)]

mod bus;
mod check;
mod config;
pub mod devicetree;
mod draft;
mod explain;
mod find_heap;
mod firmware;
mod list;
mod machine;
mod monitor;
mod obstacles;
mod paint;
mod processes;
mod rebind;
mod reload;
mod schema;
mod status;
mod tame;
mod timeline;
mod tree;
mod words;

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser, Subcommand};

/// Shows what Protheap knows
#[derive(Debug, Parser)]
#[command(
    name = "protheapctl",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Without a command it is `status`.

Exit status: 0 if it was done, 1 if it failed, 2 for wrong usage, 3 if protheapd would be needed
and does not run."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    status: status::Args,
}

/// One noun each, in a file of its name.
#[derive(Debug, Subcommand)]
enum Command {
    /// Say all that is wrong with policies, and what in them is hardly meant
    Check(check::Args),
    /// Print a first policy for a board, of what can be seen of it
    Draft(draft::Args),
    /// Say which policy applies to a machine, which heap that means, and why
    Explain(explain::Args),
    /// Find the heap that all devices of a media pipeline can use
    FindHeap(find_heap::Args),
    /// Print the sections of a GPU's firmware image, and the protected memory that it needs
    Firmware(firmware::Args),
    /// List the heaps and the GPUs, a line each
    List(list::Args),
    /// Print how each GPU stands, now and whenever that changes
    Monitor(monitor::Args),
    /// Have it decided anew which heap a GPU gets
    Rebind(rebind::Args),
    /// Have the policies read again
    Reload(reload::Args),
    /// Print the JSON Schema of a policy, for editors
    Schema(schema::Args),
    /// Show how the board's GPUs stand, and what stands in the way
    Status(status::Args),
    /// Tell what happened to each GPU since the boot, and when
    Timeline(timeline::Args),
}

/// The exit status where protheapd would be needed, and does not run.
const ABSENT: u8 = 3;

/// The command line, for what is made of it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command.unwrap_or(Command::Status(cli.status)) {
        Command::Check(args) => check::run(&args, print),
        Command::Draft(args) => draft::run(&args).and_then(|text| print(&text)).map(good),
        Command::Explain(args) => explain::run(&args).and_then(|text| print(&text)).map(good),
        Command::FindHeap(args) => find_heap::run(&args).and_then(|text| print(&text)).map(good),
        Command::Firmware(args) => firmware::run(&args).and_then(|text| print(&text)).map(good),
        Command::List(args) => list::run(&args).and_then(|text| print(&text)).map(good),
        Command::Monitor(args) => monitor::run(&args, print_line).map(good),
        Command::Rebind(args) => rebind::run(&args).and_then(|text| print(&text)).map(good),
        Command::Reload(args) => reload::run(&args).and_then(|text| print(&text)).map(good),
        Command::Schema(_) => schema::run().and_then(|text| print(&text)).map(good),
        Command::Status(args) => {
            status::run(&args).and_then(|(text, code)| print(&text).map(|()| code))
        }
        Command::Timeline(args) => timeline::run(&args).and_then(|text| print(&text)).map(good),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Where standard error is closed too, the exit status is all that can be said.
            let text = tame::printed(&format!("protheapctl: {error:#}\n")).into_owned();
            let _ = io::stderr().write_all(text.as_bytes());
            if error.is::<bus::Absent>() { ExitCode::from(ABSENT) } else { ExitCode::FAILURE }
        }
    }
}

fn good((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// Prints a result. A reader that left early, such as `head`, has had what it wanted.
fn print(text: &str) -> Result<()> {
    print_line(text).map(drop)
}

/// Prints one of many results. False: the reader has left.
fn print_line(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(tame::printed(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("writing the result to standard output"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_options_of_all_commands_fit_together() {
        super::command().debug_assert();
    }
}
