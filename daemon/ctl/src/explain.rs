// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl explain`: shows the policy that applies to a machine, the heap that it selects, and
//! why.

mod text;

use std::collections::{BTreeMap, BTreeSet};

use crate::devicetree::{CarveOut, Node, OKAY};
use anyhow::Result;
use protheap_core::decision::{Decision, Plan, decide};
use protheap_core::facts::{Delivery, Facts, Gpu, HeapModule, Platform, Protection};
use protheap_core::notes::{Note, notes};
use protheap_core::state::{Reason, State};
use protheap_core::state_file::{GpuState, StateFile};
use protheap_core::trace::Considered;
use protheap_policy::cascade::{Judged, Outcome};
use protheap_policy::lint::nearest;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::{GpuPolicy, HOLD, SUSPEND_BYTES, SUSPEND_COUNT};
use protheap_policy::schema::{EvidenceStatus, Sourced};
use protheap_runtime::state_file;
use serde::Serialize;

use crate::machine::{Machine, Which};
use crate::obstacles::{self, Found, Obstacle, Situation};
use crate::output::json;
use crate::status::kernel;

/// Maximum number of unrelated policy files to list.
const MOST_ELSEWHERE: usize = 20;

/// Which machine, and how to print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The decision is the result of the policy and the current state of the machine, including what the
last run wrote about heaps to /run/protheap/state.json. Nothing is allocated. For a device tree
blob the heaps are unknown: the decision is null, and the reason shows whether a heap can appear.

JSON: {\"platform\":{\"compatible\":[],\"model\":\"\"},\"policies\":[{\"key\",\"path\"} most specific first],
\"considered\":[{\"path\",\"outcome\",\"why\"}],\"gpus\":[{\"device\",\"compatible\":[],\"status\",\"heaps\":[],
\"decision\",\"reason\"}]}. outcome: applied, masked, shadowed, refused, untrusted. decision: name
of the heap, or null; reason: empty if there is a heap, \"waiting\" if one can still appear,
\"disabled\" if the status of the GPU's node is not okay, \"absent\" if the node has no device, else
as in docs/state.md. Members can be added: a GPU also has candidates and values, each with its
position in a policy. \"carve_outs\": reserved regions from which a heap can come, each with path,
name, bytes (or null), compatible, status, no_map, allocator (or null). \"obstacles\": as in
docs/protheapctl.md, without those of the running programs; obstacles_unknown: null, or why
obstacles can be missing.")]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Examines the machine, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let mut machine = Machine::look(&args.machine)?;
    let last =
        if machine.is_blob { None } else { state_file::read(&machine.root, &mut machine.problems) };
    if let Some(last) = &last {
        last.add_verdicts(&mut machine.facts);
        kernel::add_sections(last, &mut machine.facts);
    }
    let report = Report::of(&machine, last.as_ref());
    Ok(if args.json { json(&report)? } else { report.to_string() })
}

/// The output: serialized as JSON, or displayed as text.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    platform: Board<'a>,
    kernel: KernelReport<'a>,
    policies: Vec<Applied<'a>>,
    considered: Vec<File<'a>>,
    /// Local files beside the image's policies that do not apply to this board.
    elsewhere: Vec<Stranger<'a>>,
    /// Tables for GPUs that this board does not have.
    unmatched: Vec<Unmatched<'a>>,
    /// Present heaps; null for a device tree blob.
    heaps: Option<Vec<&'a HeapName>>,
    tees: Vec<String>,
    providers: Vec<ProviderReport<'a>>,
    /// Kernel modules that candidates name.
    modules: Vec<ModuleReport<'a>>,
    gpus: Vec<GpuReport<'a>>,
    share: Vec<Share<'a>>,
    /// Statements of the policy that deserve attention.
    notes: Vec<Note>,
    /// Regions of the device tree from which a protected heap can come.
    carve_outs: Vec<CarveOut>,
    obstacles: Vec<Obstacle>,
    /// The reason if obstacles may be missing.
    obstacles_unknown: Option<String>,
    problems: Vec<ProblemReport<'a>>,
    /// Whether the machine has a node or a reason that explains why there is no GPU.
    #[serde(skip)]
    explains_no_gpu: bool,
}

#[derive(Debug, Serialize)]
struct Board<'a> {
    compatible: &'a [String],
    model: &'a str,
}

#[derive(Debug, Serialize)]
struct KernelReport<'a> {
    release: &'a str,
    lockdown: bool,
    /// Mechanism that delivers a binding to the GPU driver. Assumed for a device tree blob.
    delivery: Delivery,
}

#[derive(Debug, Serialize)]
struct Applied<'a> {
    key: &'a Key,
    path: &'a str,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    path: &'a str,
    outcome: Outcome,
    why: &'a str,
}

#[derive(Debug, Serialize)]
struct Stranger<'a> {
    path: &'a str,
    why: String,
}

#[derive(Debug, Serialize)]
struct Unmatched<'a> {
    table: &'a str,
    origin: String,
    /// The name that the table most likely means.
    meant: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ProviderReport<'a> {
    device: &'a DeviceName,
    compatible: &'a [String],
    driver: Option<&'a str>,
    finished: bool,
    /// Reason why no driver is bound although a matching one is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ModuleReport<'a> {
    name: &'a str,
    state: HeapModule,
    finished: bool,
}

#[derive(Debug, Serialize)]
struct GpuReport<'a> {
    device: &'a str,
    compatible: &'a [String],
    status: &'a str,
    driver: Option<&'a str>,
    heaps: Vec<String>,
    decision: Option<HeapName>,
    reason: &'static str,
    candidates: Vec<Candidate<'a>>,
    values: BTreeMap<&'static str, Value>,
    /// Result of the last run for the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<LastRun<'a>>,
}

/// Result of the last run.
#[derive(Debug, Serialize)]
struct LastRun<'a> {
    device: &'a DeviceName,
    state: State,
    reason: &'static str,
    heap: Option<&'a HeapName>,
    protection: Option<Protection>,
    exporter: Option<&'a str>,
}

impl<'a> LastRun<'a> {
    fn of(gpu: &'a GpuState) -> Self {
        Self {
            device: &gpu.device,
            state: gpu.state,
            reason: Reason::optional_str(gpu.reason),
            heap: gpu.heap.as_ref(),
            protection: gpu.protection,
            exporter: gpu.exporter.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Candidate<'a> {
    #[serde(flatten)]
    considered: Considered,
    /// Evidence for the heap name, if a policy has any.
    evidence: Option<EvidenceStatus>,
    /// Source of the evidence.
    source: Option<&'a str>,
    /// Evidence that a firewall protects the heap's memory, if a policy has any.
    firewall: Option<EvidenceStatus>,
}

/// A setting that applies, and its position; none if it is a default.
#[derive(Debug, Serialize)]
struct Value {
    value: serde_json::Value,
    origin: Option<String>,
}

#[derive(Debug, Serialize)]
struct Share<'a> {
    compatible: &'a str,
    usage: &'a str,
    heaps: &'a [HeapName],
    origin: String,
}

#[derive(Debug, Serialize)]
struct ProblemReport<'a> {
    path: &'a str,
    message: &'a str,
}

impl<'a> Report<'a> {
    /// Returns the heaps that are selected, or that the last run bound.
    pub(crate) fn heaps_in_use(&self) -> impl Iterator<Item = &HeapName> {
        let last = |gpu: &'_ GpuReport<'a>| {
            gpu.last_run.as_ref().filter(|last| last.state.is_bound()).and_then(|last| last.heap)
        };
        self.gpus.iter().filter_map(move |gpu| gpu.decision.as_ref().or(last(gpu)))
    }

    /// Returns the candidates of all GPUs.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &str> {
        self.gpus.iter().flat_map(|gpu| gpu.heaps.iter().map(String::as_str))
    }

    /// Selects a heap for each GPU of the machine, and searches for obstacles.
    pub(crate) fn of(machine: &'a Machine, last: Option<&'a StateFile>) -> Self {
        let decision = decide(&machine.policy, &machine.facts);
        let found = obstacles::find(&Situation::of_plan(machine, &decision));
        Self::new(machine, &decision, last, found)
    }

    fn new(
        machine: &'a Machine,
        decision: &Decision,
        last: Option<&'a StateFile>,
        found: Found,
    ) -> Self {
        let facts @ Facts { platform, kernel, .. } = &machine.facts;
        let Platform { compatible, model } = platform;
        let applied = |file: &&Judged| file.outcome == Outcome::Applied;
        let mut gpus = Vec::new();
        for (device, gpu) in &machine.facts.gpus {
            let decided = decision.gpus.get(device);
            let plan = decided.map(|decision| &decision.plan);
            let trace = decided.map(|decision| decision.trace.as_slice()).unwrap_or_default();
            gpus.push(gpu_report(machine, device, gpu, plan, trace, last));
        }
        gpus.extend(without_device(machine));
        gpus.sort_by_key(|gpu| gpu.device);
        Self {
            platform: Board { compatible, model: model.as_deref().unwrap_or_default() },
            kernel: KernelReport {
                release: &kernel.release,
                lockdown: kernel.lockdown,
                delivery: facts.delivery(),
            },
            policies: (machine.files.iter().rev().filter(applied))
                .map(|file| Applied { key: &file.key, path: &file.path })
                .collect(),
            considered: (machine.files.iter().rev())
                .map(|file| File { path: &file.path, outcome: file.outcome, why: &file.why })
                .collect(),
            elsewhere: (machine.elsewhere.iter().take(MOST_ELSEWHERE))
                .map(|path| Stranger { path, why: why_elsewhere(path, compatible) })
                .collect(),
            unmatched: unmatched(machine),
            heaps: (!machine.is_blob).then(|| machine.facts.heaps.iter().collect()),
            tees: machine.facts.tees.iter().map(ToString::to_string).collect(),
            providers: (machine.facts.providers.iter())
                .map(|(device, provider)| ProviderReport {
                    device,
                    compatible: &provider.compatible,
                    driver: provider.driver.as_deref(),
                    finished: provider.has_finished(),
                    failure: provider.failure.as_ref().map(|failure| failure.message.as_str()),
                })
                .collect(),
            modules: (machine.facts.heap_modules.iter())
                .map(|(name, state)| ModuleReport {
                    name,
                    state: *state,
                    finished: state.has_finished(),
                })
                .collect(),
            gpus,
            notes: notes(&machine.policy, &machine.facts),
            share: (machine.policy.content().share.iter())
                .flat_map(|(compatible, share)| share.iter().map(move |one| (compatible, one)))
                .map(|(compatible, (usage, heaps))| Share {
                    compatible,
                    usage,
                    heaps: &heaps.value,
                    origin: heaps.origin.to_string(),
                })
                .collect(),
            carve_outs: machine.tree.carve_outs(),
            obstacles: found.obstacles,
            obstacles_unknown: found.unknown,
            problems: (machine.problems.iter())
                .map(|problem| ProblemReport { path: &problem.path, message: &problem.message })
                .collect(),
            explains_no_gpu: machine.is_acpi || !machine.arm_nodes.is_empty(),
        }
    }
}

/// Returns the GPUs that have a node but no device.
fn without_device(machine: &Machine) -> impl Iterator<Item = GpuReport<'_>> {
    let no_device = |node: &&Node| {
        DeviceName::new(&node.device).map_or(true, |name| !machine.facts.gpus.contains_key(&name))
    };
    machine.nodes.values().filter(no_device).map(|node| GpuReport {
        device: &node.device,
        compatible: &node.compatible,
        status: &node.status,
        driver: None,
        heaps: Vec::new(),
        decision: None,
        reason: if node.status == OKAY { "absent" } else { "disabled" },
        candidates: Vec::new(),
        values: BTreeMap::new(),
        last_run: None,
    })
}

fn gpu_report<'a>(
    machine: &'a Machine,
    device: &'a DeviceName,
    gpu: &'a Gpu,
    plan: Option<&Plan>,
    trace: &[Considered],
    last: Option<&'a StateFile>,
) -> GpuReport<'a> {
    let policy = machine.policy.gpu(device, &gpu.compatible);
    let (decision, reason) = match plan {
        Some(Plan::Try(request) | Plan::Bind(request)) => (Some(request.heap.clone()), ""),
        Some(Plan::Keep(heap)) => (Some(heap.clone()), ""),
        // A device tree does not show the present heaps, the chip or the kernel.
        Some(Plan::Without(Reason::NoHeap)) if machine.is_blob => (None, "waiting"),
        Some(Plan::Without(reason) | Plan::Fail(reason)) => (None, reason.as_str()),
        Some(Plan::Wait) => (None, "waiting"),
        None => (None, "no-policy"),
    };
    let evidence = &machine.policy.content().evidence;
    let candidate = |considered: &Considered| {
        let evidence = evidence.get(&considered.candidate);
        Candidate {
            considered: considered.clone(),
            evidence: evidence.map(|evidence| evidence.status),
            source: evidence.and_then(|evidence| evidence.source.as_deref()),
            firewall: evidence.and_then(|evidence| evidence.firewall),
        }
    };
    GpuReport {
        device: device.as_str(),
        compatible: &gpu.compatible,
        status: machine.status(device.as_str()),
        driver: gpu.driver.as_deref(),
        heaps: trace.iter().map(|considered| considered.candidate.clone()).collect(),
        decision,
        reason,
        candidates: trace.iter().map(candidate).collect(),
        values: policy.as_ref().map(values).unwrap_or_default(),
        last_run: last.and_then(|last| last.gpu(device)).map(LastRun::of),
    }
}

/// Returns the policy's tables for GPUs that are not on the board.
fn unmatched(machine: &Machine) -> Vec<Unmatched<'_>> {
    let of_nodes = machine.nodes.values().flat_map(|node| {
        std::iter::once(node.device.as_str()).chain(node.compatible.iter().map(String::as_str))
    });
    let names: BTreeSet<_> = machine.facts.gpu_names().chain(of_nodes).collect();
    // On a board without a GPU, no table is listed.
    let tables = machine.policy.gpu_tables().filter(|_| !names.is_empty());
    let tables = tables.filter(|(table, _)| !names.contains(table));
    let unmatched = tables.map(|(table, origin)| Unmatched {
        table,
        origin: origin.to_string(),
        meant: nearest(table, names.iter().copied()),
    });
    unmatched.collect()
}

/// Returns why a file does not apply to a board with these strings.
fn why_elsewhere(path: &str, compatible: &[String]) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some(stem) = name.strip_suffix(".toml").or_else(|| name.strip_suffix(".toml.d")) else {
        return "ignored: the file name does not end in .toml".to_owned();
    };
    match nearest(stem, compatible.iter().map(String::as_str)) {
        Some(meant) => {
            format!("its name is not a compatible string of this board: did you mean {meant}?")
        }
        None => "its name is not a compatible string of this board".to_owned(),
    }
}

/// Returns all settings except the heaps.
fn values(policy: &GpuPolicy) -> BTreeMap<&'static str, Value> {
    fn value<T: Clone + Into<serde_json::Value>>(
        said: Option<&Sourced<T>>,
        built_in: impl Into<serde_json::Value>,
    ) -> Value {
        Value {
            value: said.map_or_else(|| built_in.into(), |said| said.value.clone().into()),
            origin: said.map(|said| said.origin.to_string()),
        }
    }
    let table = policy.table();
    let bind = Value {
        value: policy.bind().as_str().into(),
        origin: table.bind.as_ref().map(|said| said.origin.to_string()),
    };
    BTreeMap::from([
        ("bind", bind),
        ("hold_us", value(table.hold.as_ref(), HOLD)),
        ("suspend_bytes", value(table.suspend_bytes.as_ref(), SUSPEND_BYTES)),
        ("suspend_count", value(table.suspend_count.as_ref(), SUSPEND_COUNT)),
        ("firmware", value(table.firmware.as_ref(), serde_json::Value::Null)),
        ("allow_unprotected", value(table.allow_unprotected.as_ref(), false)),
    ])
}
