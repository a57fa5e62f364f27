// SPDX-License-Identifier: MIT OR Apache-2.0

//! `/run/protheap/state.json`: what the binder or the daemon last wrote of the bindings.

use std::collections::BTreeMap;

use protheap_board::Problem;
use protheap_board::root::Root;
use protheap_core::facts::{Facts, Protection, Verdict};
use protheap_policy::name::HeapName;
use serde::{Deserialize, Serialize};

/// Where it is, beneath the root.
const STATE: &str = "run/protheap/state.json";
/// The most of it that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// The version that is understood.
const SCHEMA: u32 = 1;

/// The part of the file that matters here. Each member is described in docs/state.md.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StateFile {
    schema: u32,
    pub(crate) written_by: String,
    pub(crate) delivery: String,
    pub(crate) refused: Vec<Refused>,
    gpus: Vec<Binding>,
    pub(crate) heaps: BTreeMap<String, String>,
}

/// What was skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Refused {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
    /// Its last good content still applies.
    pub(crate) kept: bool,
}

/// What became of a GPU.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Binding {
    pub(crate) device: String,
    /// Its state, a word of docs/state.md.
    pub(crate) state: String,
    /// Why, a word of docs/state.md; empty if there is nothing to say.
    pub(crate) reason: String,
    /// The heap that was bound, or tried last.
    pub(crate) heap: Option<String>,
    pub(crate) protection: Option<String>,
    pub(crate) exporter: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) firewall: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) policy: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) firmware_bytes: Option<u64>,
    #[serde(skip_serializing)]
    pub(crate) suspend_bytes: Option<u64>,
    #[serde(skip_serializing)]
    pub(crate) suspend_count: Option<u32>,
    #[serde(skip_serializing)]
    pub(crate) suspend_buffers: Option<u32>,
    #[serde(skip_serializing)]
    pub(crate) suspend_shortage: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) held_us: u64,
    #[serde(skip_serializing)]
    pub(crate) next: Option<Next>,
    #[serde(skip_serializing)]
    considered: Vec<Considered>,
    #[serde(skip_serializing)]
    pub(crate) timeline: Vec<Step>,
}

/// What would be bound in place of what is bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Next {
    pub(crate) heap: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Considered {
    candidate: String,
    origin: String,
    outcome: String,
    detail: String,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Step {
    /// Microseconds of `CLOCK_MONOTONIC`: since the boot.
    pub(crate) at_us: u64,
    pub(crate) step: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

impl StateFile {
    /// Reads it. `None`: it is not there, or not understood, which is told then.
    pub(crate) fn read(root: &Root, problems: &mut Vec<Problem>) -> Option<Self> {
        let bytes = root.read(STATE, LARGEST, problems)?;
        let read = match serde_json::from_slice::<Self>(&bytes) {
            Ok(file) if file.schema == SCHEMA => return Some(file),
            Ok(file) => format!("has schema {}: only {SCHEMA} is understood", file.schema),
            Err(error) => format!("is not understood: {error}"),
        };
        problems.push(Problem { path: root.shown(STATE), message: read });
        None
    }

    /// What became of all GPUs.
    pub(crate) fn gpus(&self) -> &[Binding] {
        &self.gpus
    }

    /// What became of one GPU.
    pub(crate) fn of(&self, device: &str) -> Option<&Binding> {
        self.gpus.iter().find(|binding| binding.device == device)
    }

    /// The name of the program that wrote it.
    pub(crate) fn program(&self) -> &str {
        self.written_by.split(' ').next().unwrap_or_default()
    }

    /// Adds the verdicts on heaps to what is known of the machine.
    pub(crate) fn add_verdicts(&self, facts: &mut Facts) {
        for (device, gpu) in &mut facts.gpus {
            if let Some(binding) = self.of(device.as_str()) {
                gpu.verdicts.extend(binding.verdicts());
            }
        }
    }
}

impl Binding {
    /// It had a binding then.
    pub(crate) fn is_bound(&self) -> bool {
        matches!(self.state.as_str(), "bound" | "in-use")
    }

    /// Nothing more was to happen by itself.
    pub(crate) fn is_end(&self) -> bool {
        self.is_bound() || matches!(self.state.as_str(), "unprotected" | "failed" | "absent")
    }

    /// Where the policy names the heap.
    pub(crate) fn origin(&self) -> Option<&str> {
        let chosen = self
            .considered
            .iter()
            .find(|one| matches!(one.outcome.as_str(), "bound" | "chosen"))?;
        Some(&chosen.origin)
    }

    /// Details of the first candidate that has the reason for its outcome.
    pub(crate) fn detail(&self) -> Option<&str> {
        let outcome = match self.reason.as_str() {
            "no-heap" => "absent",
            "heap-too-small" => "too-small",
            "heap-not-protected" => "not-protected",
            "heap-dead" => "dead",
            _ => return None,
        };
        let is_it = |one: &&Considered| one.outcome == outcome && !one.detail.is_empty();
        Some(&self.considered.iter().find(is_it)?.detail)
    }

    fn verdicts(&self) -> Vec<(HeapName, Verdict)> {
        let mut verdicts = Vec::new();
        for considered in &self.considered {
            let verdict = match considered.outcome.as_str() {
                "dead" => Verdict::Dead,
                "too-small" => Verdict::TooSmall(considered.detail.clone()),
                "not-protected" => allocated("none", self.exporter.as_deref()),
                _ => continue,
            };
            verdicts.extend(HeapName::new(&considered.candidate).ok().map(|heap| (heap, verdict)));
        }
        let heap = self.heap.as_deref().filter(|_| self.is_bound()).map(HeapName::new);
        if let (Some(Ok(heap)), Some(protection)) = (heap, &self.protection) {
            verdicts.push((heap, allocated(protection, self.exporter.as_deref())));
        }
        verdicts
    }
}

fn allocated(protection: &str, exporter: Option<&str>) -> Verdict {
    let known = [Protection::Tee, Protection::Unmappable];
    let known = known.into_iter().find(|known| known.as_str() == protection);
    let exporter = exporter.unwrap_or("unknown").to_owned();
    let protection = known.unwrap_or(Protection::None);
    Verdict::Allocated { protection, exporter, shortage: None }
}
