// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl status`: shows the binding state of each GPU, and the obstacles.

pub(crate) mod gpu;
pub(crate) mod kernel;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::processes;
use anyhow::Result;
use protheap_board::kernel::{CONFIGFS, hides_module};
use protheap_board::policies::DENIED;
use protheap_board::root::Root;
use protheap_core::decision::decide;
use protheap_core::facts::{Delivery, Platform};
use protheap_core::state::State;
use protheap_core::state_file::{Refused, StateFile};
use protheap_policy::cascade::{Judged, Outcome};
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_runtime::state_file;
use serde::Serialize;

use crate::bus::DAEMON;
use crate::machine::{Machine, Which};
use crate::obstacles::{self, Found, Obstacle};
use crate::output::json;
use crate::paint::Paint;
use gpu::Status;
use kernel::Seen;

/// Version of the `--json` output.
const SCHEMA: u32 = 1;
/// Directory of links to the heaps that suit a whole media pipeline.
const HEAPS: &str = "run/protheap/heaps";

/// Which machine, and how to print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Values are from the kernel; if it does not have them, from /run/protheap/state.json. Values that are
not available, or not to this user, are shown as unknown. docs/protheapctl.md describes the JSON.

Exit status: 0 if no GPU is known to have failed, 1 if a GPU has failed, 2 on a usage error.")]
pub(crate) struct Args {
    /// Inspect the machine whose directory tree is at DIR
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Examines the machine, and returns the text to print and the exit status.
pub(crate) fn run(args: &Args) -> Result<(String, ExitCode)> {
    let report = Report::of(&mut Machine::see(&Which::root(&args.root))?);
    let failed = report.gpus.iter().any(|gpu| gpu.state == Some(State::Failed));
    let text = if args.json { json(&report)? } else { report.text(Paint::of_output()) };
    Ok((text, ExitCode::from(u8::from(failed))))
}

/// The output. A null member does not exist, or is listed in `unknown`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    board: Platform,
    kernel: Option<String>,
    delivery: Option<Delivery>,
    writer: Option<Writer>,
    policies: Option<Vec<Key>>,
    pub(crate) gpus: Vec<Status>,
    heaps: Vec<Usage>,
    refused: Vec<Refused>,
    obstacles: Vec<Obstacle>,
    unknown: Vec<Unknown>,
}

/// The program that wrote `state.json`.
#[derive(Debug, Serialize)]
struct Writer {
    written_by: String,
    /// Whether the program is still running.
    running: Option<bool>,
}

/// The heap that suits a whole media pipeline.
#[derive(Debug, Serialize)]
struct Usage {
    usage: String,
    heap: String,
    /// Whether the heap is present.
    exists: bool,
}

/// An unknown member.
#[derive(Debug, Serialize)]
pub(crate) struct Unknown {
    /// JSON pointer to the member (RFC 6901).
    member: String,
    why: String,
}

impl Report {
    /// Makes the report of a machine. Adds the verdicts of `state.json` to the machine's facts.
    pub(crate) fn of(machine: &mut Machine) -> Self {
        let mut unknown = Vec::new();
        let mut not_known = |member: String, why: &str| {
            unknown.push(Unknown { member, why: why.to_owned() });
        };
        let before = machine.problems.len();
        let file = state_file::read(&machine.root, &mut machine.problems);
        match (&file, machine.problems.get(before)) {
            (Some(file), _) => {
                file.add_verdicts(&mut machine.facts);
                kernel::add_sections(file, &mut machine.facts);
            }
            (None, Some(problem)) => not_known("/writer".to_owned(), &problem.to_string()),
            (None, None) => {}
        }
        let running = file.as_ref().map(|file| processes::runs(&machine.root, file.program()));
        if running == Some(None) {
            let why = "not all processes are visible";
            not_known("/writer/running".to_owned(), why);
        }
        let daemon_runs = processes::runs(&machine.root, DAEMON);
        let delivery = kernel::delivery(&machine.root, &machine.facts);
        if let Err(why) = &delivery {
            not_known("/delivery".to_owned(), why);
        }
        if machine.facts.kernel.release.is_empty() {
            not_known(
                "/kernel".to_owned(),
                "the tree has no kernel modules, or those of several kernels",
            );
        }
        if let Some(problem) = &machine.denied {
            not_known("/policies".to_owned(), &problem.to_string());
        }

        let is_daemon = file.as_ref().is_some_and(|file| file.program() == DAEMON);
        let is_live = is_daemon && running == Some(Some(true));
        let gpus = statuses(machine, file.as_ref(), is_live, running.flatten());
        for (number, (status, seen)) in gpus.iter().enumerate() {
            for (member, why) in status.unknown(seen.as_ref()) {
                not_known(format!("/gpus/{number}/{member}"), &why);
            }
            if machine.denied.is_some() && !is_live && seen.is_some() {
                not_known(format!("/gpus/{number}/next"), "policies are not readable by this user");
            }
        }
        let gpus: Vec<_> = gpus.into_iter().map(|(status, _)| status).collect();

        let refused = refused(machine, file.as_ref().filter(|_| is_live));
        let decision = decide(&machine.policy, &machine.facts);
        let situation = obstacles::Situation {
            machine,
            decision: &decision,
            is_plan: false,
            gpus: &gpus,
            refused: &refused,
            daemon_runs,
            delivery: delivery.as_ref().ok().copied(),
        };
        let Found { obstacles, unknown: why } = obstacles::find(&situation);
        if let Some(why) = why {
            not_known("/obstacles".to_owned(), &why);
        }
        let applied = machine.files.iter().rev().filter(|file| file.outcome == Outcome::Applied);
        let mut policies: Vec<_> = applied.map(|file| file.key.clone()).collect();
        policies.dedup();
        let release = machine.facts.kernel.release.clone();
        Self {
            schema: SCHEMA,
            kernel: Some(release).filter(|release| !release.is_empty()),
            delivery: delivery.ok(),
            writer: file
                .map(|file| Writer { written_by: file.written_by, running: running.flatten() }),
            policies: machine.denied.is_none().then_some(policies),
            gpus,
            heaps: usages(machine),
            refused,
            obstacles,
            unknown,
            board: machine.facts.platform.clone(),
        }
    }
}

/// Returns the status of each GPU and what the kernel shows of it, by device name. Nodes of the
/// device tree without a device are included. `is_live` says whether `file` is that of a running
/// daemon.
fn statuses(
    machine: &Machine,
    file: Option<&StateFile>,
    is_live: bool,
    writer_runs: Option<bool>,
) -> Vec<(Status, Option<Seen>)> {
    let mut gpus = Vec::new();
    for (device, gpu) in &machine.facts.gpus {
        let seen = Seen::of(&machine.root, &machine.facts, device);
        let entry = file.and_then(|file| file.gpu(device));
        let mut status = Status::of(device, gpu, &seen, entry, writer_runs);
        // A running daemon has the facts of its own selection.
        status.next = match entry {
            Some(entry) if is_live => entry.next.clone(),
            _ if machine.denied.is_some() => None,
            _ => gpu::next(&machine.policy, &machine.facts, device, &status),
        };
        gpus.push((status, Some(seen)));
    }
    let is_device =
        |name: &str| DeviceName::new(name).is_ok_and(|name| machine.facts.gpus.contains_key(&name));
    for node in machine.nodes.values().filter(|node| !is_device(&node.device)) {
        gpus.push((Status::of_node(&node.device, &node.compatible), None));
    }
    gpus.sort_by(|(one, _), (other, _)| one.device.cmp(&other.device));
    gpus
}

impl Status {
    /// Returns the members that are null because they are unknown, each with the reason.
    fn unknown(&self, seen: Option<&Seen>) -> Vec<(&'static str, String)> {
        let Some(seen) = seen else { return Vec::new() };
        let mut unknown = Vec::new();
        match seen {
            Seen::Hidden(why) if self.state.is_none() => {
                unknown.push(("state", format!("not in state.json, and {why}")));
            }
            Seen::Hidden(why) if self.is_bound() => {
                unknown.push(("suspend_free", why.clone()));
                unknown.push(("suspend_in_use", why.clone()));
            }
            _ => {}
        }
        if self.state.is_some() && self.reason.is_none() {
            unknown.push(("reason", "not in state.json".to_owned()));
        }
        if self.is_bound() && self.policy.is_none() {
            unknown.push(("policy", "not in state.json".to_owned()));
        }
        if self.is_bound() && self.since_us.is_none() {
            unknown.push(("since_us", "not in state.json".to_owned()));
        }
        unknown
    }
}

/// Returns the files that a running daemon rejected, and those that are rejected when read now.
fn refused(machine: &Machine, daemon: Option<&StateFile>) -> Vec<Refused> {
    let mut refused: Vec<_> = daemon.map(|file| file.refused.clone()).unwrap_or_default();
    let mut add = |new: Refused| {
        let same = |old: &Refused| old.path == new.path && old.message == new.message;
        if !refused.iter().any(same) {
            refused.push(new);
        }
    };
    for Judged { path, outcome, why, faults, .. } in &machine.files {
        // A file that this user may not read can be valid.
        if !matches!(outcome, Outcome::Refused | Outcome::Untrusted) || why == DENIED {
            continue;
        }
        for fault in faults {
            add(Refused::from(fault));
        }
        if faults.is_empty() {
            add(Refused::whole(path, why));
        }
    }
    // Attributes that only root can read are unknown, not rejected.
    let hidden = hides_module(&machine.root).then(|| machine.root.shown(CONFIGFS));
    let gpus = machine.facts.gpus.iter().filter(|(_, gpu)| gpu.hides_section);
    let is_hidden = |path: &str| {
        hidden.as_ref().is_some_and(|hidden| path.starts_with(hidden))
            || gpus.clone().any(|(device, _)| path.ends_with(&format!("/{device}")))
    };
    for problem in machine.problems.iter().filter(|problem| !is_hidden(&problem.path)) {
        add(Refused::whole(&problem.path, &problem.message));
    }
    refused
}

/// Returns the heap of each usage, as media stacks find it.
fn usages(machine: &Machine) -> Vec<Usage> {
    let root: &Root = &machine.root;
    let mut usages = Vec::new();
    for usage in root.list(HEAPS, &mut Vec::new()) {
        if let Some(heap) = root.link(&format!("{HEAPS}/{usage}")) {
            let exists = HeapName::new(&heap).is_ok_and(|heap| machine.facts.heaps.contains(&heap));
            usages.push(Usage { usage, heap, exists });
        }
    }
    usages
}
