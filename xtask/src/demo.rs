// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: one boot of a board whose protected heap appears late, with its events as they happen.

pub(crate) mod optee;
mod report;
pub(crate) mod uki;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use self::report::Report;
use crate::cache::Workspace;
use crate::machine::Machine;
use crate::tee::Tee;
use crate::vm::{self, Boot};
use crate::{board, image};

/// Host time after which the demonstration is stopped. It takes about five seconds, with systemd half a minute.
const LIMIT: Duration = Duration::from_secs(120);

/// Arguments of the `demo` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Board to boot [default: rk3588; with --uki, all]
    #[arg(long)]
    board: Option<String>,
    /// Use the stand-in driver, which logs each buffer, instead of panthor on a modelled GPU
    #[arg(long)]
    stand_in: bool,
    /// Boot with systemd, with the binder in the initrd and the daemon in the root
    #[arg(long, conflicts_with = "stand_in")]
    systemd: bool,
    /// Boot one signed unified kernel image under Secure Boot on every board, and show that a modified one is refused
    #[arg(long, conflicts_with_all = ["stand_in", "systemd"])]
    uki: bool,
    /// Boot one kernel and initrd on every real OP-TEE and print the binding on each; with --uki, boot one signed image
    /// on every board
    #[arg(long, conflicts_with_all = ["stand_in", "systemd"])]
    optee: bool,
    /// Open a root shell in the guest, until `poweroff`
    #[arg(long, requires = "systemd", conflicts_with = "json")]
    shell: bool,
    /// Print the result as one JSON object, on the last line
    #[arg(long)]
    json: bool,
}

/// Boots the board. Returns `true` only if its GPU got protected buffers.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let board = args.board.as_deref().unwrap_or("rk3588");
    let boards = board::names(workspace)?;
    if !boards.iter().any(|name| name == board) {
        bail!("no board `{board}`: there are {}", boards.join(", "));
    }
    if args.optee {
        let matrix = match args.uki {
            true => optee::run_uki(workspace, args.board.as_deref())?,
            false => optee::run(workspace, board)?,
        };
        if args.json {
            println!("{}", serde_json::to_string(&matrix)?);
        }
        return Ok(matrix.good());
    }
    if args.uki {
        let findings = uki::run(workspace, args.board.as_deref())?;
        print!("\n{findings}");
        if args.json {
            println!("{}", serde_json::to_string(&findings)?);
        }
        return Ok(findings.good());
    }
    let (image, icount) = if args.systemd {
        (image::prepare_systemd_demo(workspace)?, Some(vm::ICOUNT_BY_CLOCK))
    } else {
        (image::prepare_demo(workspace)?, None)
    };
    let tree = board::device_tree(workspace, board, &[], Machine::Direct(1))?;
    let (script, late) = match (args.systemd, args.shell, args.stand_in) {
        (true, true, _) => ("demo-shell", 200),
        (true, false, _) => ("demo-systemd", 200),
        (false, _, true) => ("demo-stand-in", 2000),
        (false, _, false) => ("demo", 2000),
    };
    let tee = if args.systemd { String::new() } else { Tee::Sim.words() };
    let cmdline =
        format!("xtask.scenario={script} xtask.board={board} {tee} simtee.delay_ms={late}");
    let boot = Boot { icount, ..Boot::new("demo", &tree, &cmdline, LIMIT) };
    println!("booting {board}: its protected heap appears {late} ms after the TEE was found");
    if args.systemd {
        println!("with systemd, this takes an emulated processor half a minute; the events follow");
    }
    if args.shell {
        boot.interactive(workspace, &image)?;
        return Ok(true);
    }
    let (mut report, mut ended) = (None, false);
    let outcome = boot.run(workspace, &image, |line| match line.split_once(' ') {
        Some(("story", event)) => println!("{}", story(event)),
        Some(("report", object)) => report = Some(object.to_owned()),
        Some(("end", _)) => ended = true,
        _ => println!("            {line}"),
    })?;

    let faults = vm::faults(&outcome.console);
    let Some(sent) = report else {
        bail!("the guest ended without a report; its console is in {}", outcome.log.display());
    };
    let mut report: Report =
        serde_json::from_str(&sent).context("failed to read the guest's report")?;
    board.clone_into(&mut report.board);
    println!();
    for (name, value) in report.rows() {
        println!("  {name:<18}  {value}");
    }
    println!();
    let good = ended && faults.is_empty() && report.bound() && (args.stand_in || report.used());
    for fault in &faults {
        println!("kernel: {fault}");
    }
    if !good {
        println!(
            "the GPU did not get its protected buffers or did not use them; the console is in {}",
            outcome.log.display()
        );
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(good)
}

/// Formats `MICROSECONDS TEXT` with the time in seconds.
fn story(event: &str) -> String {
    let (time, text) = event.split_once(' ').unwrap_or((event, ""));
    let seconds = time.parse::<u64>().unwrap_or(0) as f64 / 1e6;
    format!("  {seconds:>7.3} s  {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_times_are_in_seconds() {
        assert_eq!(story("2345678 heap came"), "    2.346 s  heap came");
    }
}
