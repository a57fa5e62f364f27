// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl report`: describes a machine for a change that turns evidence from `unverified`
//! into `tested`. Contains nothing that identifies one machine among those of its kind.

mod snippet;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use protheap_board::{firmware, soc};
use protheap_core::facts::Verdict;
use protheap_policy::name::HeapName;
use protheap_runtime::state_file;
use serde::Serialize;

use crate::config::{self, Choice};
use crate::evidence;
use crate::explain;
use crate::machine::{Machine, Which};
use crate::output::json;

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// Kernel options that protected memory and GPU drivers depend on.
const OPTIONS: [&str; 16] = [
    "CONFIG_ARM_FFA_TRANSPORT",
    "CONFIG_CFI",
    "CONFIG_CMA",
    "CONFIG_CONFIGFS_FS",
    "CONFIG_DMABUF_HEAPS",
    "CONFIG_DMABUF_HEAPS_CMA",
    "CONFIG_DMABUF_HEAPS_SYSTEM",
    "CONFIG_DRM_PANTHOR",
    "CONFIG_DRM_TYR",
    "CONFIG_MALI_CSF_SUPPORT",
    "CONFIG_MODULE_SIG_FORCE",
    "CONFIG_OPTEE",
    "CONFIG_RUST",
    "CONFIG_SECURITY_LOCKDOWN_LSM",
    "CONFIG_TEE",
    "CONFIG_TEE_DMABUF_HEAPS",
];

/// Which machine, and how to print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The report contains the board, the kernel and its options, the TEE, the SoC, the heaps and the
judgement of the last run, the firmware images of the GPU, the policies, the decision, and the
evidence. It contains no serial number, no address and no machine ID. It ends with an evidence
table: replace each value in angle brackets, which `protheapctl check` refuses, before you add the
table to a policy. Nothing is allocated. docs/protheapctl.md describes the JSON.")]
pub(crate) struct Args {
    /// Inspect the machine whose directory tree is at DIR, such as an unpacked image
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Examines the machine, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    // Opening the root reports the error, if there is one.
    let root = args.root.canonicalize().unwrap_or_else(|_| args.root.clone());
    let mut machine = Machine::look(&Which::root(&root))?;
    let last = state_file::read(&machine.root, &mut machine.problems);
    if let Some(last) = &last {
        last.add_verdicts(&mut machine.facts);
    }
    let mut problems = Vec::new();
    let release = &machine.facts.kernel.release;
    let options = options(&machine, &mut problems);
    // A failure to read an image is among the problems of the machine already.
    let image = |name: &str| firmware::identify(&machine.root, release, name, &mut Vec::new());
    let images = firmware::read(&machine.root, release, None, &mut Vec::new());
    let images = images.iter().filter_map(|found| image(&found.name)).map(Image::from).collect();
    let socs = soc::read(&machine.root, &mut problems).into_iter();
    machine.problems.append(&mut problems);
    let explain = explain::Report::of(&machine, last.as_ref());
    let report = Report {
        schema: SCHEMA,
        written_by: concat!("protheapctl ", env!("CARGO_PKG_VERSION")),
        socs: socs.map(|soc| Soc { id: soc.id, revision: soc.revision }).collect(),
        heaps: machine.facts.heaps.iter().map(|heap| Heap::of(&machine, heap)).collect(),
        options,
        images,
        snippet: snippet::of(&machine, &heaps_to_test(&machine, &explain)),
        evidence: evidence::Report::of(&machine),
        explain,
    };
    let text = if args.json { json(&report)? } else { report.to_string() };
    // The path of an unpacked image is not the machine's.
    Ok(text.replace(&machine.root.shown(""), "/"))
}

/// The output: serialized as JSON, or displayed as text.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: u32,
    written_by: &'static str,
    /// The output of `protheapctl explain`.
    explain: explain::Report<'a>,
    /// Systems on chip, without their serial numbers.
    socs: Vec<Soc>,
    heaps: Vec<Heap<'a>>,
    /// Values of the kernel options: `y`, `m` or `n`; null if the configuration is unknown.
    options: Option<BTreeMap<&'static str, &'static str>>,
    images: Vec<Image>,
    /// The output of `protheapctl evidence`.
    evidence: evidence::Report<'a>,
    /// Evidence tables to fill in, as TOML.
    snippet: String,
}

#[derive(Debug, Serialize)]
struct Soc {
    id: Option<String>,
    revision: Option<String>,
}

/// A firmware image of the GPU.
#[derive(Debug, Serialize)]
struct Image {
    name: String,
    version: String,
    git_sha: Option<String>,
    protected_bytes: u64,
}

impl From<firmware::Identity> for Image {
    fn from(image: firmware::Identity) -> Self {
        let firmware::Identity { name, version, git_sha, protected_bytes } = image;
        Self { name, version, git_sha, protected_bytes }
    }
}

/// A present heap.
#[derive(Debug, Serialize)]
struct Heap<'a> {
    name: &'a HeapName,
    /// Judgement of the last run, by GPU.
    judgements: BTreeMap<&'a str, Judgement<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
enum Judgement<'a> {
    Allocated { protection: &'static str, exporter: &'a str },
    TooSmall { why: &'a str },
    Dead,
}

impl<'a> Heap<'a> {
    fn of(machine: &'a Machine, name: &'a HeapName) -> Self {
        let judgement = |verdict: &'a Verdict| match verdict {
            Verdict::Allocated { protection, exporter, .. } => {
                Judgement::Allocated { protection: protection.as_str(), exporter }
            }
            Verdict::TooSmall(why) => Judgement::TooSmall { why },
            Verdict::Dead => Judgement::Dead,
        };
        let judgements = machine.facts.gpus.iter().filter_map(|(device, gpu)| {
            Some((device.as_str(), judgement(gpu.verdicts.get(name)?)))
        });
        Self { name, judgements: judgements.collect() }
    }
}

fn options(
    machine: &Machine,
    problems: &mut Vec<protheap_board::Problem>,
) -> Option<BTreeMap<&'static str, &'static str>> {
    let config = config::read(&machine.root, &machine.facts.kernel.release, problems)?;
    let value = |option| match config.choice(option) {
        Choice::Yes => "y",
        Choice::Module => "m",
        Choice::No => "n",
    };
    Some(OPTIONS.into_iter().map(|option| (option, value(option))).collect())
}

/// Returns the heaps that the report is about: those that are selected or bound, or else the
/// candidates that are present.
fn heaps_to_test(machine: &Machine, explain: &explain::Report<'_>) -> BTreeSet<HeapName> {
    let heaps: BTreeSet<_> = explain.heaps_in_use().cloned().collect();
    if !heaps.is_empty() {
        return heaps;
    }
    let candidates = explain.candidates().filter_map(|name| HeapName::new(name).ok());
    candidates.filter(|heap| machine.facts.heaps.contains(heap)).collect()
}
