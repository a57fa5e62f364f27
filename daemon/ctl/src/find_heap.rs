// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl find-heap`: finds the heap that all given devices can use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use protheap_board::nodes;
use protheap_client::{FindHeapOptions, ManagerProxy};
use protheap_core::facts::Verdict;
use protheap_core::share::{self, Number, Question};
use protheap_core::state_file::HeapEvidence;
use protheap_runtime::state_file;
use serde::Serialize;

use crate::bus::DAEMON;
use crate::bus::{self, Absent};
use crate::machine::{Machine, Which};
use crate::output::{Sanitized, joined, json};

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// The request, and how to print the result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The result is provided by protheapd. If it is not running, or with --root, the policies are
evaluated directly. docs/protheapctl.md describes the JSON.

Exit status: 0 if a heap was found, 1 if none was found or on failure, 2 on a usage error.")]
pub(crate) struct Args {
    /// Purpose of the memory, such as secure-video
    usage: String,
    /// Device nodes, such as /dev/dri/renderD128, or their MAJOR:MINOR
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    /// Ignore devices that no policy describes
    #[arg(long)]
    allow_unknown: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Inspect the machine whose directory tree is at DIR
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
}

/// Sends the request, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let numbers: Vec<_> =
        args.devices.iter().map(|path| nodes::number(path)).collect::<Result<_, _>>()?;
    let found = if args.root == Path::new("/") {
        match ask(args, &numbers) {
            Err(error) if error.is::<Absent>() => decide(args, &numbers)?,
            answer => answer?,
        }
    } else {
        decide(args, &numbers)?
    };
    Ok(if args.json { json(&found)? } else { found.to_string() })
}

/// The heap.
#[derive(Debug, Serialize)]
struct Found {
    schema: u32,
    heap: String,
    node: String,
    /// Null if no buffer of it was classified.
    protection: Option<String>,
    exporter: Option<String>,
    worst_rank: u32,
    /// Reliability of the heap's name according to the policies; null if they do not state it.
    evidence: Option<String>,
    /// Reliability of the claim that a firewall protects the heap's memory.
    firewall: Option<String>,
    /// Numbers of the devices that were ignored.
    unknown: Vec<(u32, u32)>,
    from: By,
}

/// Source of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Protheapd,
    Policies,
}

fn ask(args: &Args, numbers: &[Number]) -> Result<Found> {
    bus::ask(async |connection| {
        let manager = ManagerProxy::new(&connection).await.map_err(protheap_client::Error::from)?;
        let devices: Vec<_> = numbers.iter().map(|number| (number.major, number.minor)).collect();
        let options = FindHeapOptions { allow_unknown: args.allow_unknown };
        let (_, heap, details) = manager.find_heap(&args.usage, &devices, options).await?;
        let known = |word: String| Some(word).filter(|word| !word.is_empty());
        Ok(Found {
            schema: SCHEMA,
            heap,
            node: details.node,
            protection: known(details.protection),
            exporter: known(details.exporter),
            worst_rank: details.worst_rank,
            evidence: details.evidence.and_then(known),
            firewall: details.firewall.and_then(known),
            unknown: details.unknown,
            from: By::Protheapd,
        })
    })
}

/// Finds the heap from the policies and the present heaps.
fn decide(args: &Args, numbers: &[Number]) -> Result<Found> {
    let mut machine = Machine::look(&Which::root(&args.root))?;
    if let Some(file) = state_file::read(&machine.root, &mut machine.problems) {
        file.add_verdicts(&mut machine.facts);
    }
    let device = |number: &Number| {
        let device = nodes::read(&machine.root, *number).map_err(|error| error.to_string());
        (*number, device)
    };
    let devices: BTreeMap<_, _> = numbers.iter().map(device).collect();
    let (usage, allow_unknown) = (args.usage.as_str(), args.allow_unknown);
    let heaps = &machine.facts.heaps;
    let question = Question { usage, devices: &devices, heaps, allow_unknown };
    let answer = share::find(&machine.policy, question)?;
    let mut verdicts = machine.facts.gpus.values().filter_map(|gpu| gpu.verdicts.get(&answer.heap));
    let judged = verdicts.find_map(|verdict| match verdict {
        Verdict::Allocated { protection, exporter, .. } => Some((*protection, exporter.clone())),
        Verdict::TooSmall(_) | Verdict::Dead => None,
    });
    let evidence = HeapEvidence::of(&machine.policy, &answer.heap);
    Ok(Found {
        schema: SCHEMA,
        heap: answer.heap.to_string(),
        node: format!("/dev/dma_heap/{}", answer.heap),
        protection: judged.as_ref().map(|(protection, _)| protection.as_str().to_owned()),
        exporter: judged.map(|(_, exporter)| exporter),
        worst_rank: u32::try_from(answer.worst_rank).unwrap_or(u32::MAX),
        evidence: evidence.status.map(|status| status.as_str().to_owned()),
        firewall: evidence.firewall.map(|status| status.as_str().to_owned()),
        unknown: answer.unknown.iter().map(|number| (number.major, number.minor)).collect(),
        from: By::Policies,
    })
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "heap        {}", Sanitized(&self.heap))?;
        writeln!(f, "node        {}", Sanitized(&self.node))?;
        let unknown = "unknown: not determined yet";
        writeln!(f, "protection  {}", joined(&self.protection, unknown))?;
        writeln!(f, "exporter    {}", joined(&self.exporter, unknown))?;
        let none = "no evidence";
        writeln!(
            f,
            "evidence    name: {}, firewall: {}",
            joined(&self.evidence, none),
            joined(&self.firewall, none)
        )?;
        if !self.unknown.is_empty() {
            let left_out = self.unknown.iter().map(|(major, minor)| format!("{major}:{minor}"));
            writeln!(f, "ignored     {}: not described by any policy", joined(left_out, ""))?;
        }
        if self.from == By::Policies {
            writeln!(f, "from the policies and the present heaps, without {DAEMON}")?;
        }
        Ok(())
    }
}
