// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: one boot of a board whose protected heap comes late, told as it unfolds.

pub(crate) mod optee;
pub(crate) mod uki;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};

use crate::cache::Workspace;
use crate::tee::Tee;
use crate::vm::{self, Boot, Machine};
use crate::{board, image};

/// Host time after which the demo is given up; it takes about five seconds, with systemd half a minute.
const LIMIT: Duration = Duration::from_secs(120);

/// The result: all but `board` is what the guest read from its system, and null is what was not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Report {
    #[serde(skip_deserializing)]
    board: String,
    compatible: Option<Vec<String>>,
    policies: Option<Vec<String>>,
    gpu: Option<String>,
    driver: Option<String>,
    heap: Option<String>,
    protection: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    firmware_bytes: Option<u64>,
    suspend_bytes: Option<u64>,
    suspend_in_use: Option<u64>,
    section: Option<String>,
    section_pages: Option<u64>,
    protected_entries: Option<u64>,
    protected_exits: Option<u64>,
    denied: Option<u64>,
    complaints: Option<u64>,
    held_ms: Option<u64>,
    bound_before_probe: Option<bool>,
    boot_ms: Option<u64>,
}

impl Report {
    /// Whether the GPU's driver holds buffers of a protected heap, had before it probed.
    fn bound(&self) -> bool {
        self.state.as_deref() == Some("in-use")
            && matches!(self.protection.as_deref(), Some("tee" | "unmappable"))
            && self.bound_before_probe == Some(true)
            && self.firmware_bytes > Some(0)
            && self.suspend_in_use > Some(0)
    }

    /// Whether the GPU has used them, and nothing else, in protected mode: as far as a modelled one tells.
    fn used(&self) -> bool {
        self.section.as_deref() == Some("carve-out")
            && self.section_pages.map(|pages| pages * 4096) == self.firmware_bytes
            && self.protected_entries > Some(0)
            && self.protected_exits == self.protected_entries
            && self.denied == Some(0)
            && self.complaints == Some(0)
    }

    /// The result as people read it.
    fn rows(&self) -> [(&'static str, String); 18] {
        let text = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        let list = |value: &Option<Vec<String>>| value.as_ref().map(|v| v.join(" > "));
        let bytes = |value: Option<u64>| value.map(|n| format!("{n} ({} KiB)", n / 1024));
        let ms = |value: Option<u64>| value.map(|n| format!("{n} ms"));
        [
            ("board", Some(self.board.clone())),
            ("compatible", list(&self.compatible)),
            ("policies", list(&self.policies)),
            ("GPU", text(&self.gpu)),
            ("driver", text(&self.driver)),
            ("heap", text(&self.heap)),
            ("protection", text(&self.protection)),
            ("state", text(&self.state)),
            ("reason", text(&self.reason)),
            ("firmware buffer", bytes(self.firmware_bytes)),
            (
                "firmware's section",
                self.section_pages
                    .map(|n| format!("{n} pages: {}", self.section.as_deref().unwrap_or_default())),
            ),
            ("suspend buffers of", bytes(self.suspend_bytes)),
            ("protected groups", self.suspend_in_use.map(|n| n.to_string())),
            (
                "protected mode",
                self.protected_entries.map(|n| {
                    format!("entered {n} times, left {} times", self.protected_exits.unwrap_or(0))
                }),
            ),
            ("accesses denied", self.denied.map(|n| n.to_string())),
            ("GPU was held", ms(self.held_ms)),
            (
                "bound before probe",
                self.bound_before_probe.map(|b| if b { "yes" } else { "no" }.into()),
            ),
            ("from kernel start", ms(self.boot_ms)),
        ]
        .map(|(name, value)| (name, value.unwrap_or_else(|| "-".to_owned())))
    }
}

/// What to show.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Board to boot; with --uki, that one alone instead of all [default: rk3588]
    #[arg(long)]
    board: Option<String>,
    /// Let the stand-in drive the GPU, which shows when buffers are taken, instead of the real panthor on a modelled GPU
    #[arg(long)]
    stand_in: bool,
    /// Boot it with systemd: an initrd whose binder binds, and a root whose daemon takes over
    #[arg(long, conflicts_with = "stand_in")]
    systemd: bool,
    /// Boot one signed unified kernel image under Secure Boot on every board, and show that it is refused once tampered with
    #[arg(long, conflicts_with_all = ["stand_in", "systemd"])]
    uki: bool,
    /// Boot one kernel and initrd on every real OP-TEE that is built, and print what was bound on each; with --uki, those
    /// of one signed image, on every board
    #[arg(long, conflicts_with_all = ["stand_in", "systemd"])]
    optee: bool,
    /// Stay there, in a shell of root's, until `poweroff`
    #[arg(long, requires = "systemd", conflicts_with = "json")]
    shell: bool,
    /// Print the result as one JSON object, on the last line
    #[arg(long)]
    json: bool,
}

/// Boots the board. `true` only if its GPU got protected buffers.
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
        let told = uki::run(workspace, args.board.as_deref())?;
        print!("\n{told}");
        if args.json {
            println!("{}", serde_json::to_string(&told)?);
        }
        return Ok(told.good());
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
    let boot = Boot {
        name: "demo",
        board: &tree,
        cmdline: &cmdline,
        smp: 1,
        flash: None,
        icount,
        limit: LIMIT,
    };
    println!("booting {board}: its protected heap comes {late} ms after the TEE is found");
    if args.systemd {
        println!("with systemd that takes an emulated processor half a minute; the story follows");
    }
    if args.shell {
        boot.interactive(workspace, &image)?;
        return Ok(true);
    }
    let (mut report, mut ended) = (None, false);
    let outcome = boot.run(workspace, &image, |line| match line.split_once(' ') {
        Some(("story", told)) => println!("{}", story(told)),
        Some(("report", object)) => report = Some(object.to_owned()),
        Some(("end", _)) => ended = true,
        _ => println!("            {line}"),
    })?;

    let faults = vm::faults(&outcome.console);
    let Some(sent) = report else {
        bail!("the guest ended without a report; its console is in {}", outcome.log.display());
    };
    let mut report: Report = serde_json::from_str(&sent).context("reading the guest's report")?;
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
            "the GPU did not get its protected buffers, or did not use them; the console is in {}",
            outcome.log.display()
        );
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(good)
}

/// `MICROSECONDS TEXT` with the time in seconds.
fn story(told: &str) -> String {
    let (time, text) = told.split_once(' ').unwrap_or((told, ""));
    let seconds = time.parse::<u64>().unwrap_or(0) as f64 / 1e6;
    format!("  {seconds:>7.3} s  {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = r#"{"state": "in-use", "protection": "tee", "bound_before_probe": true, "heap": "h",
        "firmware_bytes": 262144, "suspend_in_use": 1, "policies": ["a,b", "default"], "reason": "",
        "section": "carve-out", "section_pages": 64, "protected_entries": 3, "protected_exits": 3, "denied": 0,
        "complaints": 0}"#;

    fn sent() -> Report {
        serde_json::from_str(SENT).unwrap()
    }

    #[test]
    fn every_member_is_there_and_null_is_what_is_absent() {
        let object = serde_json::to_value(sent()).unwrap();
        for key in "board compatible policies gpu driver heap protection state reason firmware_bytes suspend_bytes \
                    suspend_in_use section section_pages protected_entries protected_exits denied complaints held_ms \
                    bound_before_probe boot_ms"
            .split_whitespace()
        {
            assert!(object.get(key).is_some(), "{key}");
        }
        assert_eq!(object["driver"], serde_json::Value::Null);
        assert_eq!(object["heap"], "h");
    }

    #[test]
    fn success_needs_buffers_in_the_drivers_hands() {
        assert!(sent().bound());
        let spoil: [fn(&mut Report); 6] = [
            |report| report.state = Some("bound".to_owned()),
            |report| report.protection = Some("none".to_owned()),
            |report| report.protection = None,
            |report| report.firmware_bytes = Some(0),
            |report| report.suspend_in_use = None,
            |report| report.bound_before_probe = Some(false),
        ];
        for (number, spoil) in spoil.iter().enumerate() {
            let mut report = sent();
            spoil(&mut report);
            assert!(!report.bound(), "{number}");
        }
    }

    #[test]
    fn success_needs_protected_mode_as_well() {
        assert!(sent().used());
        let spoil: [fn(&mut Report); 7] = [
            |report| report.section = Some("ordinary".to_owned()),
            |report| report.section_pages = Some(63),
            |report| report.protected_entries = Some(0),
            |report| report.protected_entries = None,
            |report| report.protected_exits = Some(2),
            |report| report.denied = Some(1),
            |report| report.complaints = Some(1),
        ];
        for (number, spoil) in spoil.iter().enumerate() {
            let mut report = sent();
            spoil(&mut report);
            assert!(!report.used(), "{number}");
        }
    }

    #[test]
    fn times_and_values_read_well() {
        assert_eq!(story("2345678 heap came"), "    2.346 s  heap came");
        let rows = sent().rows();
        assert_eq!(rows[2], ("policies", "a,b > default".to_owned()));
        assert_eq!(rows[8], ("reason", "-".to_owned()));
        assert_eq!(rows[9], ("firmware buffer", "262144 (256 KiB)".to_owned()));
        assert_eq!(rows[10], ("firmware's section", "64 pages: carve-out".to_owned()));
        assert_eq!(rows[13], ("protected mode", "entered 3 times, left 3 times".to_owned()));
    }
}
