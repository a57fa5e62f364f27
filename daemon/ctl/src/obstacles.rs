// SPDX-License-Identifier: MIT OR Apache-2.0

//! Obstacles between a board and its protected memory, each with a remedy.

mod files;
mod firmware;
mod gpu;
mod heaps;
mod module;
mod notes;
mod options;
mod provider;

use protheap_core::decision::{Decision, GpuDecision, decide};
use protheap_core::facts::Delivery;
use protheap_core::state_file::Refused;
use protheap_core::trace::{Considered, Outcome};
use protheap_policy::name::DeviceName;
use serde::Serialize;

use crate::machine::Machine;
use crate::status::gpu::Status;
use crate::status::kernel;

/// An obstacle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Obstacle {
    /// A stable word: an obstacle of docs/protheapctl.md, or a reason of docs/state.md.
    pub(crate) what: &'static str,
    /// The affected GPU; null if all are.
    pub(crate) gpu: Option<String>,
    pub(crate) message: String,
    /// Next step.
    pub(crate) next: String,
}

/// The facts to search for obstacles.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) machine: &'a Machine,
    /// What selection selects now.
    pub(crate) decision: &'a Decision,
    /// Whether the question is what would be selected, and not the state of the last run. Then
    /// `gpus` and `refused` are empty.
    pub(crate) is_plan: bool,
    pub(crate) gpus: &'a [Status],
    pub(crate) refused: &'a [Refused],
    /// Whether protheapd is running, if known.
    pub(crate) daemon_runs: Option<bool>,
    /// Mechanism that delivers a binding to the GPU driver, if known.
    pub(crate) delivery: Option<Delivery>,
}

/// The obstacles that were found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) obstacles: Vec<Obstacle>,
    /// The reason if the list may be incomplete.
    pub(crate) unknown: Option<String>,
}

impl Found {
    fn push(&mut self, obstacle: Obstacle) {
        self.obstacles.push(obstacle);
    }
}

/// The subjects, in the order of the output.
const SUBJECTS: [fn(&Situation<'_>, &mut Found); 10] = [
    gpu::nodes,
    module::find,
    options::find,
    firmware::find,
    provider::find,
    gpu::find,
    heaps::open,
    heaps::reach,
    notes::find,
    files::find,
];

/// Returns all obstacles.
pub(crate) fn find(at: &Situation<'_>) -> Found {
    let mut found = Found::default();
    for subject in SUBJECTS {
        subject(at, &mut found);
    }
    found
}

/// Returns a line for each required option that is disabled in the kernel of a machine. If the
/// configuration is unknown, there is none.
pub(crate) fn disabled_options(machine: &Machine) -> Vec<String> {
    let decision = decide(&machine.policy, &machine.facts);
    let mut found = Found::default();
    options::find(&Situation::of_plan(machine, &decision), &mut found);
    found.obstacles.into_iter().map(|obstacle| obstacle.message).collect()
}

impl<'a> Situation<'a> {
    /// Returns the situation in which `decision` is the plan for a machine.
    pub(crate) fn of_plan(machine: &'a Machine, decision: &'a Decision) -> Self {
        let delivery = if machine.is_blob {
            Some(machine.facts.delivery())
        } else {
            kernel::delivery(&machine.root, &machine.facts).ok()
        };
        Self {
            machine,
            decision,
            is_plan: true,
            gpus: &[],
            refused: &[],
            daemon_runs: None,
            delivery,
        }
    }
}

impl Situation<'_> {
    /// Returns whether a GPU has no heap and no pending attempt.
    fn is_bad(&self) -> bool {
        let gpus = || self.machine.facts.gpus.keys();
        let status = |device: &str| self.gpus.iter().find(|gpu| gpu.device == device);
        match self.is_plan {
            true => gpus().next().is_some(),
            false => gpus().filter_map(|device| status(device.as_str())).any(is_without),
        }
    }

    /// Returns the GPUs that have no binding, as far as is known.
    fn unbound(&self) -> impl Iterator<Item = &DeviceName> {
        let is_bound = |device: &str| {
            self.gpus.iter().any(|status| status.device == device && status.is_bound())
        };
        self.machine.facts.gpus.keys().filter(move |device| !is_bound(device.as_str()))
    }

    /// Returns the GPUs that have no binding, and for which no heap is selected.
    fn without_heap(&self) -> impl Iterator<Item = &DeviceName> {
        let decided = |device: &DeviceName| self.decision.gpus.get(device);
        self.unbound().filter(move |device| decided(device).and_then(selected).is_none())
    }

    fn lacks_module(&self) -> bool {
        self.delivery == Some(Delivery::None)
    }

    /// Returns whether the machine is the device tree of a board, and the root that of the machine
    /// on which this program runs.
    fn is_foreign(&self) -> bool {
        self.machine.is_blob && self.machine.root.is_running()
    }

    fn has_optee(&self) -> bool {
        self.machine.facts.providers.values().any(provider::is_optee)
    }

    /// Returns whether there is an OP-TEE without a driver.
    fn lacks_driver_of_optee(&self) -> bool {
        let mut providers = self.machine.facts.providers.values();
        providers.any(|provider| provider::is_optee(provider) && provider.driver.is_none())
    }
}

/// Returns the candidate that is selected for a GPU.
fn selected(decision: &GpuDecision) -> Option<&Considered> {
    let is_selected = |one: &&Considered| {
        matches!(one.outcome, Outcome::Bound | Outcome::Chosen | Outcome::Untried)
    };
    decision.trace.iter().find(is_selected)
}

fn is_without(gpu: &Status) -> bool {
    gpu.state.is_some() && !gpu.is_bound() && !gpu.is_pending()
}
