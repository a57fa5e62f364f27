// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheap-bind`: binds protected heaps to Mali CSF GPUs before their driver probes.
//!
//! The binder runs in the initrd and early at boot: without D-Bus, threads and libudev. It starts a
//! hold for each GPU whose heap exists or can still appear, waits for the kernel's uevents about
//! heaps, binds the heaps, and exits.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use protheap_board::devices;
use protheap_board::root::Root;
use protheap_board::run::RunDirectory;
use protheap_board::uevents::Uevents;
use protheap_core::decision::{Decision, decide};
use protheap_core::facts::Platform;
use protheap_core::state_file::Refused;
use protheap_policy::name::Key;
use protheap_policy::sanitize;
use protheap_runtime::executor::EarlyExecutor;
use protheap_runtime::log::{Log, one_line};
use protheap_runtime::survey::Survey;
use protheap_runtime::{Result, ready};
use serde::Serialize;

/// Name of this program in messages.
const PROGRAM: &str = "protheap-bind";
const LOG: Log = Log::stderr(PROGRAM);

const HELP: &str = "\
Bind protected heaps to Mali CSF GPUs before their driver probes.

Usage: protheap-bind [--detach]
       protheap-bind --has-gpu
       protheap-bind --plan [--root DIR]

  --detach    continue in the background, and return when the probes are held
  --has-gpu   check for a Mali CSF GPU, and create /run/protheap/gpu if there is one
  --plan      print the planned actions as JSON, and change nothing
  --root DIR  plan for the machine whose directory tree is at DIR
  --help      print this help
  --version   print the version

Exit status: 0 if no GPU failed, 1 on failure or if a GPU failed, 2 on a usage error.
With --has-gpu: 0 if there is a Mali CSF GPU, 1 if there is none.
";

enum Command {
    Bind { detach: bool },
    HasGpu,
    Plan { root: PathBuf },
    Print(String),
}

fn main() -> ExitCode {
    let command = match arguments(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("{PROGRAM}: {}\n\n{HELP}", one_line(format_args!("{error}")));
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{PROGRAM}: {}", one_line(format_args!("{error}")));
            ExitCode::from(1)
        }
    }
}

fn arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt};

    let (mut detach, mut has_gpu, mut plan, mut root) = (false, false, false, None);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("detach") => detach = true,
            Long("has-gpu") => has_gpu = true,
            Long("plan") => plan = true,
            Long("root") => root = Some(PathBuf::from(parser.value()?.parse::<OsString>()?)),
            Long("version") | Short('V') => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Command::Print(format!("{PROGRAM} {version}\n")));
            }
            Long("help") | Short('h') => return Ok(Command::Print(HELP.to_owned())),
            other => return Err(other.unexpected()),
        }
    }
    if has_gpu {
        return match (plan, detach, root) {
            (false, false, None) => Ok(Command::HasGpu),
            _ => Err("--has-gpu cannot be used with other options".into()),
        };
    }
    match (plan, detach, root) {
        (true, false, root) => Ok(Command::Plan { root: root.unwrap_or_else(|| "/".into()) }),
        (false, detach, None) => Ok(Command::Bind { detach }),
        (true, true, _) => Err("--detach cannot be used with --plan".into()),
        (false, _, Some(_)) => Err("--root requires --plan".into()),
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Print(text) => print!("{text}"),
        Command::Plan { root } => println!("{}", plan(&Root::open(&root)?)?),
        Command::HasGpu => {
            let root = Root::open("/".as_ref())?;
            if !devices::has_gpu(&root) {
                return Ok(ExitCode::from(1));
            }
            // Neither the exit status nor an initrd without systemd depends on this file.
            if let Err(problem) = RunDirectory::open(&root).and_then(|run| run.mark_gpu()) {
                eprintln!("{PROGRAM}: {problem}");
            }
        }
        // Exit before opening, creating or executing anything.
        Command::Bind { .. } if !devices::has_gpu(&Root::open("/".as_ref())?) => {
            ready::notify(LOG);
        }
        Command::Bind { detach: true } => return ready::detach(),
        Command::Bind { detach: false } => {
            // Open the socket first, so that no event is missed while facts are read.
            let uevents = Uevents::open()?;
            let failed = EarlyExecutor::new(Root::open("/".as_ref())?, LOG)?.run(uevents)?;
            return Ok(ExitCode::from(u8::from(failed)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Output of `--plan`.
#[derive(Serialize)]
struct PlanReport<'a> {
    platform: &'a Platform,
    policies: Vec<&'a Key>,
    refused: &'a [Refused],
    decision: Decision,
}

fn plan(root: &Root) -> Result<String> {
    let Survey { policy, facts, refused, .. } = Survey::of(root, LOG, None);
    let decision = decide(&policy, &facts);
    let (platform, policies) = (&facts.platform, policy.keys());
    let report = PlanReport { platform, policies, refused: &refused, decision };
    Ok(sanitize::json(&serde_json::to_string(&report)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, lexopt::Error> {
        arguments(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn arguments_rejects_invalid_combinations() {
        assert!(matches!(parse(""), Ok(Command::Bind { detach: false })));
        assert!(matches!(parse("--detach"), Ok(Command::Bind { detach: true })));
        assert!(matches!(parse("--plan --root /x"), Ok(Command::Plan { .. })));
        assert!(matches!(parse("--has-gpu"), Ok(Command::HasGpu)));
        for wrong in
            ["--root /x", "--plan --detach", "--hold 3", "x", "--root", "-x", "--has-gpu --plan"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
