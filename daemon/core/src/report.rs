// SPDX-License-Identifier: MIT OR Apache-2.0

//! `/run/protheap/state.json`: what media stacks and people may read of the bindings.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::{Binding, Engine, Next, Step};
use crate::facts::{Gpu, KernelBinding, Platform, Protection, Source, Verdict};
use crate::share::common_heaps;
use crate::state::{Reason, State};
use crate::trace::Considered;
use protheap_policy::diagnostic::Diagnostic;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::GpuPolicy;
use protheap_policy::schema::EvidenceStatus;

/// The version of the file's format.
pub const SCHEMA: u32 = 1;

/// The file's content.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    schema: u32,
    written_by: &'a str,
    platform: &'a Platform,
    policies: Vec<&'a Key>,
    delivery: &'static str,
    refused: &'a [Refused],
    gpus: Vec<GpuReport<'a>>,
    heaps: BTreeMap<String, HeapName>,
}

/// A file that was not used, or a part of the machine that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The path.
    pub path: String,
    /// The line at fault, from 1; 0 where the whole is.
    pub line: usize,
    /// The column at fault, from 1; 0 where the whole is.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What it said before still applies: it was good once while the daemon ran.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

impl From<&Diagnostic> for Refused {
    fn from(fault: &Diagnostic) -> Self {
        Self {
            path: fault.path.clone(),
            line: fault.place.line,
            column: fault.place.column,
            message: fault.message.clone(),
            kept: false,
        }
    }
}

/// What is said of a GPU. The members are described in `docs/state.md`.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct GpuReport<'a> {
    pub device: &'a DeviceName,
    pub compatible: &'a [String],
    pub driver: Option<&'a str>,
    pub state: State,
    pub reason: &'static str,
    pub heap: Option<&'a HeapName>,
    pub protection: Option<Protection>,
    pub exporter: Option<&'a str>,
    pub firewall: Option<EvidenceStatus>,
    pub policy: Option<&'a Key>,
    pub firmware_bytes: Option<u64>,
    pub suspend_bytes: Option<u64>,
    pub suspend_count: Option<u32>,
    pub suspend_buffers: Option<u32>,
    pub suspend_shortage: Option<&'a str>,
    pub next: Option<Next>,
    pub held_us: u64,
    pub considered: Cow<'a, [Considered]>,
    pub timeline: &'a [Step],
}

impl<'a> Report<'a> {
    /// The report of an engine. `written_by` names the program and its version.
    pub fn new<const DAEMON: bool>(
        engine: &'a Engine<DAEMON>,
        refused: &'a [Refused],
        written_by: &'a str,
    ) -> Self {
        let facts = engine.facts();
        Self {
            schema: SCHEMA,
            written_by,
            platform: &facts.platform,
            policies: engine.policy().keys(),
            delivery: facts.kernel.delivery(),
            refused,
            gpus: engine
                .bindings()
                .iter()
                .map(|(device, binding)| GpuReport::new(engine, device, binding))
                .collect(),
            heaps: common_heaps(engine.policy(), &facts.heaps),
        }
    }

    /// The heap that suits a whole media pipeline, by usage.
    pub fn heaps(&self) -> &BTreeMap<String, HeapName> {
        &self.heaps
    }
}

static NO_GPU: Gpu = Gpu { compatible: Vec::new(), driver: None, verdicts: BTreeMap::new() };

/// How many suspend buffers a binding has: as the kernel showed it last, else as they were
/// allocated. `None` without a binding, and where the GPU driver allocates them.
fn buffers(kernel: Option<&KernelBinding>, binding: &Binding, gpu: &Gpu) -> Option<u32> {
    let request = binding.request().filter(|request| request.source != Source::Driver);
    let allocated = request.filter(|_| binding.is_bound()).map(|request| {
        let shortage = gpu.verdicts.get(&request.heap).and_then(Verdict::shortage);
        shortage.map_or(request.suspend_count, |shortage| shortage.allocated)
    });
    kernel.map(|kernel| kernel.suspend_buffers).or(allocated)
}

/// Why protheap.ko has fewer suspend buffers than it may, where no program met the reason.
fn unknown_shortage(kernel: &KernelBinding) -> Option<&'static str> {
    let is_its = kernel.source == Source::Kernel;
    is_its.then_some("protheap.ko allocated no more from the heap; see the kernel's log")
}

impl<'a> GpuReport<'a> {
    /// What an engine knows of a GPU.
    pub fn new<const DAEMON: bool>(
        engine: &'a Engine<DAEMON>,
        device: &'a DeviceName,
        binding: &'a Binding,
    ) -> Self {
        let gpu = engine.facts().gpus.get(device).unwrap_or(&NO_GPU);
        let kernel = if DAEMON { binding.kernel() } else { None };
        let request = binding.request();
        // What the kernel has comes before what was asked for.
        let judged = match (kernel, binding.heap().and_then(|heap| gpu.verdicts.get(heap))) {
            (Some(kernel), _) => Some((kernel.protection, kernel.exporter.as_str())),
            (None, Some(Verdict::Allocated { protection, exporter, .. })) => {
                Some((*protection, exporter.as_str()))
            }
            _ => None,
        };
        let suspend_buffers = buffers(kernel, binding, gpu);
        let suspend_count = kernel
            .map(|kernel| kernel.suspend_count)
            .or(request.map(|request| request.suspend_count))
            .or(binding.policy().map(GpuPolicy::suspend_count));
        Self {
            device,
            compatible: &gpu.compatible,
            driver: gpu.driver.as_deref(),
            state: binding.state(),
            reason: binding.reason().map_or("", Reason::as_str),
            heap: binding.heap(),
            protection: judged.map(|(protection, _)| protection),
            exporter: judged.map(|(_, exporter)| exporter),
            firewall: binding
                .heap()
                .filter(|_| binding.is_bound())
                .and_then(|heap| engine.policy().content().evidence.get(heap.as_str())?.firewall),
            policy: binding.named_by(),
            firmware_bytes: kernel
                .map(|kernel| kernel.firmware_bytes)
                .or(request.map(|request| request.firmware_bytes)),
            suspend_bytes: kernel
                .map(|kernel| kernel.suspend_bytes)
                .or(request.map(|request| request.suspend_bytes))
                .or(binding.policy().map(GpuPolicy::suspend_bytes)),
            suspend_count,
            suspend_buffers,
            suspend_shortage: binding
                .shortage()
                .or(kernel.and_then(unknown_shortage))
                .filter(|_| suspend_buffers.is_some() && suspend_buffers < suspend_count),
            next: if DAEMON { engine.next(device) } else { None },
            held_us: binding.held(),
            considered: engine.considered(device, binding),
            timeline: binding.timeline(),
        }
    }

    /// When it was bound, or found to be, in microseconds of `CLOCK_MONOTONIC`; `None` if it is
    /// not.
    pub fn bound_at(&self) -> Option<u64> {
        // It may have been in use when it was first seen.
        let last = |word| self.timeline.iter().rev().find(|step| step.step == word);
        let is_bound = matches!(self.state, State::Bound | State::InUse);
        last("bound").or(last("in-use")).filter(|_| is_bound).map(|step| step.at.0)
    }
}
