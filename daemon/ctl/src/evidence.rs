// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl evidence`: shows the evidence for the heaps of a board, and its gaps.

mod text;

use std::collections::BTreeSet;

use anyhow::Result;
use protheap_policy::evidence::{EvidenceStatus, Gap, gaps};
use protheap_policy::name::HeapName;
use protheap_policy::policy::GpuPolicy;
use protheap_policy::schema::Pattern;
use serde::Serialize;

use crate::machine::{Machine, Which};
use crate::output::json;

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// Which machine, and how to print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The heaps are the candidates of the board's GPUs and those of its [share] tables, with the
evidence that policies have for their names. Nothing is allocated. docs/protheapctl.md describes
the JSON.")]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Examines the machine, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let machine = Machine::look(&args.machine)?;
    let report = Report::of(&machine);
    Ok(if args.json { json(&report)? } else { report.to_string() })
}

/// The output: serialized as JSON, or displayed as text.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    schema: u32,
    board: Board<'a>,
    gpus: Vec<Gpu<'a>>,
    share: Vec<Share<'a>>,
    heaps: Vec<Heap<'a>>,
}

#[derive(Debug, Serialize)]
struct Board<'a> {
    compatible: &'a [String],
    model: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Gpu<'a> {
    device: &'a str,
    compatible: &'a [String],
    /// Candidates, in order of preference.
    heaps: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Share<'a> {
    device: &'a str,
    usage: &'a str,
    heaps: &'a [HeapName],
    origin: String,
}

/// A heap that a GPU or a device of the media pipeline can use.
#[derive(Debug, Serialize)]
struct Heap<'a> {
    /// Its name; a pattern if no evidence and no present heap matches it.
    heap: String,
    /// Whether it exists; null for a device tree blob.
    present: Option<bool>,
    evidence: Option<Evidence<'a>>,
    /// Facts that are not shown.
    gaps: Vec<Gap>,
}

/// The evidence of the policies for a heap name.
#[derive(Debug, Serialize)]
struct Evidence<'a> {
    status: EvidenceStatus,
    source: Option<&'a str>,
    firewall: Option<EvidenceStatus>,
    kernel: Option<&'a str>,
    firmware: Option<&'a str>,
    date: Option<&'a str>,
    observer: Option<&'a str>,
    link: Option<&'a str>,
}

impl<'a> From<&'a protheap_policy::evidence::Evidence> for Evidence<'a> {
    fn from(evidence: &'a protheap_policy::evidence::Evidence) -> Self {
        Self {
            status: evidence.status,
            source: evidence.source.as_deref(),
            firewall: evidence.firewall,
            kernel: evidence.kernel.as_deref(),
            firmware: evidence.firmware.as_deref(),
            date: evidence.date.as_deref(),
            observer: evidence.observer.as_deref(),
            link: evidence.link.as_deref(),
        }
    }
}

impl<'a> Report<'a> {
    pub(crate) fn of(machine: &'a Machine) -> Self {
        let content = machine.policy.content();
        let (mut gpus, mut names) = (Vec::new(), Vec::new());
        for (device, gpu) in &machine.facts.gpus {
            let policy = machine.policy.gpu(device, &gpu.compatible);
            let candidates = policy.iter().flat_map(GpuPolicy::heaps);
            let patterns: Vec<_> = candidates.map(|candidate| candidate.name.clone()).collect();
            names.extend(patterns.iter().flat_map(|pattern| matching(machine, pattern)));
            gpus.push(Gpu {
                device: device.as_str(),
                compatible: &gpu.compatible,
                heaps: patterns.iter().map(ToString::to_string).collect(),
            });
        }
        let mut share = Vec::new();
        for (device, usages) in &content.share {
            for (usage, heaps) in usages {
                let (origin, heaps) = (heaps.origin.to_string(), &heaps.value);
                names.extend(heaps.iter().map(ToString::to_string));
                share.push(Share { device, usage, heaps, origin });
            }
        }
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let present: BTreeSet<_> = machine.facts.heaps.iter().map(HeapName::as_str).collect();
        let heap = |heap: String| {
            let evidence = content.evidence.get(&heap);
            Heap {
                present: (!machine.is_blob).then(|| present.contains(heap.as_str())),
                evidence: evidence.map(Evidence::from),
                gaps: gaps(evidence),
                heap,
            }
        };
        let platform = &machine.facts.platform;
        let board = Board { compatible: &platform.compatible, model: platform.model.as_deref() };
        let heaps = names.into_iter().map(heap).collect();
        Self { schema: SCHEMA, board, gpus, share, heaps }
    }
}

/// Returns the names that a pattern matches: those of present heaps, and those with evidence. If
/// there are none, returns the pattern.
fn matching(machine: &Machine, pattern: &Pattern) -> Vec<String> {
    if let Pattern::Exact(name) = pattern {
        return vec![name.to_string()];
    }
    let evidence = machine.policy.content().evidence.keys();
    let known = evidence.filter_map(|name| HeapName::new(name).ok());
    let all: BTreeSet<_> = known.chain(machine.facts.heaps.iter().cloned()).collect();
    let names: Vec<_> =
        all.iter().filter(|heap| pattern.fits(heap)).map(ToString::to_string).collect();
    if names.is_empty() { vec![pattern.to_string()] } else { names }
}
