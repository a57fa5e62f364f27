// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo --optee`: boots one kernel and one initrd on every OP-TEE, with one row for each. With `--uki`,
//! those of one signed image, on every board.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cache::Workspace;
use crate::machine::Machine;
use crate::optee::{self, Firmware};
use crate::tee::Tee;
use crate::uki::Builder;
use crate::vm::{self, Boot, Image};
use crate::{board, image};

/// Host time after which a boot is stopped. It takes about three seconds, with systemd twenty.
const LIMIT: Duration = Duration::from_secs(180);

/// Limitation of this demonstration, printed with its result.
const MISSING: &str = "Secure Boot: firmware that starts a signed image from behind TF-A. EDK II of Debian's \
    qemu-efi-aarch64 runs from the flash, where TF-A is. `demo --uki` boots a signed image under Secure Boot";

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Matrix {
    rows: Vec<Row>,
    /// Remark on what the rows do not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'static str>,
}

/// Result on one firmware; null where there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Row {
    /// Board, if there are several.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    board: Option<String>,
    #[serde(skip_deserializing)]
    firmware: String,
    tee_revision: Option<String>,
    protected_memory: bool,
    #[serde(skip_deserializing)]
    abi: String,
    heap: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    firmware_bytes: Option<u64>,
    suspend_buffers: Option<u64>,
    held_ms: Option<u64>,
    /// Complaints of the modelled GPU about the driver's use of memory; not part of the result.
    #[serde(skip_serializing)]
    complaints: Option<u64>,
    /// Memory of the firmware's protected section, as the modelled GPU found it; not part of the result.
    #[serde(skip_serializing)]
    section: Option<String>,
    /// Faults in the kernel's log, and failed checks.
    #[serde(skip)]
    faults: Vec<String>,
}

impl Row {
    /// Returns whether the GPU is bound exactly if the TEE has protected memory, with the firmware's section in it.
    fn good(&self) -> bool {
        let bound = self.state.as_deref() == Some("in-use")
            && self.heap.is_some()
            && self.firmware_bytes > Some(0)
            && self.suspend_buffers > Some(0)
            && self.section.as_deref() == Some("carve-out");
        let unprotected = self.state.as_deref() == Some("unprotected")
            && self.reason.as_deref() == Some("no-heap");
        let right = if self.protected_memory { bound } else { unprotected };
        right && self.tee_revision.is_some() && self.complaints == Some(0) && self.faults.is_empty()
    }
}

impl Matrix {
    /// Returns whether every row is right.
    pub(super) fn good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::good)
    }
}

/// Returns the OP-TEEs that are available on this machine.
fn tees() -> impl Iterator<Item = Tee> {
    Tee::REAL.into_iter().filter(|tee| optee::is_there(*tee))
}

/// Boots the same kernel and initrd on each firmware.
pub(super) fn run(workspace: &Workspace, board: &str) -> Result<Matrix> {
    let image = image::prepare_demo(workspace)?;
    show_head();
    let mut rows = Vec::new();
    for tee in tees() {
        let firmware = optee::prepare(workspace, tee)?;
        let words = format!("xtask.scenario=demo-optee {}", tee.words());
        let row = boot(workspace, board, &image, &firmware, &words)?;
        show(&row);
        rows.push(row);
    }
    Ok(Matrix { rows, missing: None })
}

/// Boots kernel, initrd and command line of one signed image on each board, or on `only` that one, with each firmware.
pub(super) fn run_uki(workspace: &Workspace, only: Option<&str>) -> Result<Matrix> {
    matrix_of_uki(workspace, only, &tees().collect::<Vec<_>>())
}

/// Boots one board with two firmwares, as a step of `cargo xtask test`.
pub(crate) fn check_uki(workspace: &Workspace) -> Result<()> {
    let matrix = matrix_of_uki(workspace, Some("rk3588"), &[Tee::Dynamic, Tee::Ffa])?;
    if !matrix.good() {
        bail!("{}", serde_json::to_string(&matrix)?);
    }
    Ok(())
}

fn matrix_of_uki(workspace: &Workspace, only: Option<&str>, tees: &[Tee]) -> Result<Matrix> {
    let builder = Builder::prepare_optee(workspace)?;
    let signed = builder.path("protheap.efi");
    builder.build(Some(&builder.key), &signed)?;
    let extracted = builder.extract(&signed)?;
    println!("one signed image, {}", signed.display());
    println!("missing: {MISSING}");
    let image = Image {
        kernel: extracted.kernel,
        initrd: extracted.initrd,
        disk: Some(builder.root.clone()),
        output: None,
        digest: String::new(),
        inputs: String::new(),
    };
    show_head();
    let mut rows = Vec::new();
    for tee in tees {
        let firmware = optee::prepare(workspace, *tee)?;
        for (board, _) in
            builder.boards.iter().filter(|(board, _)| only.is_none_or(|only| only == board))
        {
            let words =
                format!("{} xtask.scenario=demo-uki-optee xtask.tee={tee}", extracted.cmdline);
            let mut row = boot(workspace, board, &image, &firmware, &words)?;
            row.board = Some(board.clone());
            show(&row);
            rows.push(row);
        }
    }
    Ok(Matrix { rows, missing: Some(MISSING) })
}

fn show_head() {
    println!(
        "{:<34} {:>8}  {:<11} {:<22} {:<12} {:<8} {:>8} {:>8} {:>6}",
        "firmware",
        "revision",
        "called by",
        "heap",
        "state",
        "reason",
        "firmware",
        "suspend",
        "held"
    );
}

fn boot(
    workspace: &Workspace,
    board: &str,
    image: &Image,
    firmware: &Firmware,
    words: &str,
) -> Result<Row> {
    let tree = board::device_tree(workspace, board, &[], Machine::Secure(1))?;
    let Firmware { tee, flash, version, .. } = firmware;
    let cmdline = format!("{words} xtask.board={board}");
    let name = format!("demo-{tee}");
    let boot = Boot { flash: Some(flash), ..Boot::new(&name, &tree, &cmdline, LIMIT) };
    let (mut report, mut said, mut ended) = (None, Vec::new(), false);
    let outcome = boot.run(workspace, image, |line| match line.split_once(' ') {
        Some(("report", object)) => report = Some(object.to_owned()),
        Some(("end", _)) => ended = true,
        Some(("ok", _)) => {}
        _ => said.push(line.to_owned()),
    })?;
    let Some(report) = report else {
        bail!(
            "the guest on {tee} ended without a report:\n{}\nits console is in {}",
            said.join("\n"),
            outcome.log.display()
        );
    };
    let mut row: Row =
        serde_json::from_str(&report).context("failed to read the guest's report")?;
    row.firmware = format!("{version} {tee}");
    tee.abi().clone_into(&mut row.abi);
    row.faults = vm::faults(&outcome.console).into_iter().map(str::to_owned).collect();
    if !ended {
        row.faults.push("the script has not reached its end".to_owned());
    }
    row.faults.extend(said.into_iter().filter(|line| line.starts_with("not ok")));
    Ok(row)
}

fn show(row: &Row) {
    let text = |value: &Option<String>| match value.as_deref() {
        None | Some("") => "-".to_owned(),
        Some(value) => value.to_owned(),
    };
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    println!(
        "{:<34} {:>8}  {:<11} {:<22} {:<12} {:<8} {:>8} {:>8} {:>6}{}",
        row.board.iter().chain([&row.firmware]).map(String::as_str).collect::<Vec<_>>().join(", "),
        text(&row.tee_revision),
        row.abi,
        text(&row.heap),
        text(&row.state),
        text(&row.reason),
        number(row.firmware_bytes),
        number(row.suspend_buffers),
        number(row.held_ms),
        if row.good() { "" } else { "  WRONG" },
    );
    for fault in &row.faults {
        println!("    {fault}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(report: &str) -> Row {
        serde_json::from_str(report).unwrap()
    }

    #[test]
    fn row_is_right_if_bound_exactly_with_protected_memory() {
        let bound = r#"{"state": "in-use", "reason": "", "heap": "h", "firmware_bytes": 1, "suspend_buffers": 12,
            "protected_memory": true, "tee_revision": "4.10", "complaints": 0, "section": "carve-out"}"#;
        let none = r#"{"state": "unprotected", "reason": "no-heap", "protected_memory": false, "tee_revision": "4.5",
            "complaints": 0}"#;
        assert!(sent(bound).good());
        assert!(sent(none).good());
        assert!(!sent(&bound.replace("in-use", "failed")).good());
        assert!(!sent(&bound.replace("12", "0")).good());
        assert!(!sent(&bound.replace("\"complaints\": 0", "\"complaints\": 1")).good());
        assert!(!sent(&bound.replace("carve-out", "ordinary")).good());
        assert!(!sent(&none.replace("false", "true")).good());
        assert!(!sent(&none.replace("\"4.5\"", "null")).good());
    }

    #[test]
    fn row_has_the_documented_members() {
        let row = serde_json::to_value(Row::default()).unwrap();
        let mut names: Vec<_> = row.as_object().unwrap().keys().cloned().collect();
        names.sort();
        assert_eq!(
            names.join(" "),
            "abi firmware firmware_bytes heap held_ms protected_memory reason state suspend_buffers tee_revision"
        );
    }
}
