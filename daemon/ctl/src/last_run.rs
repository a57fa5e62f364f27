// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the binder or the daemon found out about heaps: `/run/protheap/state.json`.

use protheap_board::Problem;
use protheap_core::facts::{Protection, Verdict};
use protheap_core::name::{DeviceName, HeapName};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

const STATE: &str = "run/protheap/state.json";
/// The most of it that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// The version that is understood.
const SCHEMA: u32 = 1;

/// The part of the file that matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct LastRun {
    schema: u32,
    gpus: Vec<Binding>,
}

/// What became of a GPU.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Binding {
    device: String,
    /// Its state, a word of docs/state.md.
    pub(crate) state: String,
    /// Why, a word of docs/state.md; empty if there is nothing to say.
    pub(crate) reason: String,
    /// The heap that was bound, or tried last.
    pub(crate) heap: Option<String>,
    protection: Option<String>,
    exporter: Option<String>,
    #[serde(skip_serializing)]
    considered: Vec<Considered>,
}

#[derive(Debug, Deserialize)]
struct Considered {
    candidate: String,
    outcome: String,
}

impl LastRun {
    /// What became of one GPU.
    pub(crate) fn of(&self, device: &DeviceName) -> Option<&Binding> {
        self.gpus.iter().find(|binding| binding.device == device.as_str())
    }
}

/// Reads it, and adds the verdicts on heaps to what is known of the machine.
pub(crate) fn read(machine: &mut Machine) -> Option<LastRun> {
    let bytes = machine.root.read(STATE, LARGEST, &mut machine.problems)?;
    let read = match serde_json::from_slice::<LastRun>(&bytes) {
        Ok(last) if last.schema == SCHEMA => Ok(last),
        Ok(last) => Err(format!("has schema {}: only {SCHEMA} is understood", last.schema)),
        Err(error) => Err(format!("is not understood: {error}")),
    };
    let last = match read {
        Ok(last) => last,
        Err(message) => {
            machine.problems.push(Problem { path: machine.root.shown(STATE), message });
            return None;
        }
    };
    for (device, gpu) in &mut machine.facts.gpus {
        let Some(binding) = last.of(device) else { continue };
        for considered in &binding.considered {
            let verdict = match considered.outcome.as_str() {
                "dead" => Verdict::Dead,
                "too-small" => Verdict::TooSmall,
                "not-protected" => allocated("none", binding.exporter.as_deref()),
                _ => continue,
            };
            if let Ok(heap) = HeapName::new(&considered.candidate) {
                gpu.verdicts.insert(heap, verdict);
            }
        }
        let bound = matches!(binding.state.as_str(), "bound" | "in-use");
        let heap = binding.heap.as_deref().filter(|_| bound).map(HeapName::new);
        if let (Some(Ok(heap)), Some(protection)) = (heap, &binding.protection) {
            gpu.verdicts.insert(heap, allocated(protection, binding.exporter.as_deref()));
        }
    }
    Some(last)
}

fn allocated(protection: &str, exporter: Option<&str>) -> Verdict {
    let known = [Protection::Tee, Protection::Unmappable];
    let known = known.into_iter().find(|known| known.as_str() == protection);
    let exporter = exporter.unwrap_or("unknown").to_owned();
    Verdict::Allocated { protection: known.unwrap_or(Protection::None), exporter }
}
