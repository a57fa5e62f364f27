// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl list`: lists the heaps and the GPUs, one per line.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use protheap_board::heaps::declared_protected;
use protheap_core::facts::Verdict;
use protheap_core::state::{Reason, State};
use protheap_policy::name::HeapName;
use protheap_policy::policy::GpuPolicy;
use serde::Serialize;

use crate::machine::{Machine, Which};
use crate::output::{Sanitized, joined, json};
use crate::status;

/// Version of the `--json` output.
const SCHEMA: u32 = 1;

/// Which machine, and how to print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line of a heap has its protection, if known, and the GPUs and usages for which a policy names
it. \"declared\" is what the kernel reports, and no buffer was allocated to confirm it. A line of a
GPU has its state and its heap. docs/protheapctl.md describes the JSON.

Exit status: 0 on success, 1 on failure, 2 on a usage error.")]
pub(crate) struct Args {
    /// Inspect the machine whose directory tree is at DIR
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Examines the machine, and returns the text to print.
pub(crate) fn run(args: &Args) -> Result<String> {
    let mut machine = Machine::see(&Which::root(&args.root))?;
    let gpus = status::Report::of(&mut machine).gpus;
    let list = List {
        schema: SCHEMA,
        heaps: machine.facts.heaps.iter().map(|heap| Heap::of(&machine, heap)).collect(),
        gpus: gpus.into_iter().map(Gpu::from).collect(),
        unknown: machine.denied.as_ref().map(ToString::to_string),
    };
    Ok(if args.json { json(&list)? } else { list.to_string() })
}

#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    heaps: Vec<Heap>,
    gpus: Vec<Gpu>,
    /// Reason why the heaps that policies name are unknown.
    unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct Heap {
    name: String,
    /// Protection from state.json; null if it was not classified.
    protection: Option<&'static str>,
    /// Whether the kernel reports it as protected; absent if the kernel has no such attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    declared_protected: Option<bool>,
    /// GPUs for which a policy names the heap.
    gpus: Vec<String>,
    /// Usages for which a policy names the heap.
    usages: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Gpu {
    device: String,
    state: Option<State>,
    reason: Option<&'static str>,
    heap: Option<HeapName>,
}

impl From<status::gpu::Status> for Gpu {
    fn from(status: status::gpu::Status) -> Self {
        let status::gpu::Status { device, state, reason, heap, .. } = status;
        let reason = reason.map(Reason::optional_str);
        Self { device, state, reason, heap }
    }
}

impl Heap {
    fn of(machine: &Machine, heap: &HeapName) -> Self {
        let mut verdicts = machine.facts.gpus.values().filter_map(|gpu| gpu.verdicts.get(heap));
        let protection = verdicts.find_map(|verdict| match verdict {
            Verdict::Allocated { protection, .. } => Some(protection.as_str()),
            Verdict::TooSmall(_) | Verdict::Dead => None,
        });
        let (mut gpus, mut usages) = (Vec::new(), Vec::new());
        for (device, gpu) in &machine.facts.gpus {
            let policy = machine.policy.gpu(device, &gpu.compatible);
            let names = policy.iter().flat_map(GpuPolicy::heaps);
            if names.map(|candidate| &candidate.name).any(|name| name.fits(heap)) {
                gpus.push(device.to_string());
            }
        }
        for (usage, heaps) in machine.policy.content().share.values().flatten() {
            if heaps.value.contains(heap) && !usages.contains(usage) {
                usages.push(usage.clone());
            }
        }
        usages.sort();
        // An invalid value is ignored: selection depends on the buffers alone.
        let declared_protected = declared_protected(&machine.root, heap, &mut Vec::new());
        Self { name: heap.to_string(), protection, declared_protected, gpus, usages }
    }

    /// Returns the protection from state.json, or else the report of the kernel.
    fn shown_protection(&self) -> &'static str {
        match (self.protection, self.declared_protected) {
            (Some(protection), _) => protection,
            (None, Some(true)) => "declared",
            (None, _) => "unknown",
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.heaps.iter().map(|heap| &heap.name);
        let names = names.chain(self.gpus.iter().map(|gpu| &gpu.device));
        let width = names.map(|name| name.chars().count()).max().unwrap_or_default();
        let line = |f: &mut fmt::Formatter<'_>, kind: &str, name: &str, word: &str, rest: &str| {
            let name = Sanitized(name).to_string();
            let line =
                format!("{kind:<4}  {name:<width$}  {:<11}  {rest}", Sanitized(word).to_string());
            writeln!(f, "{}", line.trim_end())
        };
        for heap in &self.heaps {
            let Heap { name, gpus, usages, .. } = heap;
            let named = if self.unknown.is_some() {
                "unknown".to_owned()
            } else {
                joined(gpus.iter().chain(usages), "")
            };
            line(f, "heap", name, heap.shown_protection(), &named)?;
        }
        for Gpu { device, state, reason, heap } in &self.gpus {
            let reason = reason.filter(|reason| !reason.is_empty());
            let rest = joined(reason.into_iter().chain(heap.as_ref().map(HeapName::as_str)), "");
            line(f, "gpu", device, state.map_or("unknown", State::as_str), &rest)?;
        }
        if let Some(why) = &self.unknown {
            writeln!(f, "heaps named by policies are unknown: {}", Sanitized(why))?;
        }
        Ok(())
    }
}
