// SPDX-License-Identifier: MIT OR Apache-2.0

//! A snapshot of the bindings, for clients and the log.

use std::collections::BTreeSet;

use protheap_core::engine::{Keeper, Machine as _};
use protheap_core::named::named_heaps;
use protheap_core::report::gpu_state;
use protheap_core::state_file::{GpuState, Refused};
use protheap_policy::name::{DeviceName, HeapName};

/// The state of all bindings at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) engine: Keeper,
    pub(crate) refused: Vec<Refused>,
    /// In the order of the engine's bindings: by device name.
    gpus: Vec<GpuState>,
}

impl Snapshot {
    pub(crate) fn new(engine: &Keeper, refused: &[Refused]) -> Self {
        let bindings = engine.bindings();
        let gpus = bindings.map(|(device, binding)| gpu_state(engine, device, binding)).collect();
        Self { engine: engine.clone(), refused: refused.to_vec(), gpus }
    }

    /// Returns the states of all GPUs.
    pub(crate) fn gpus(&self) -> &[GpuState] {
        &self.gpus
    }

    /// Returns the state of a GPU.
    pub(crate) fn gpu(&self, device: &DeviceName) -> Option<&GpuState> {
        let at = self.gpus.binary_search_by(|gpu| gpu.device.cmp(device)).ok()?;
        self.gpus.get(at)
    }

    /// Returns the present heaps that the policies name or that are bound.
    pub(crate) fn heaps(&self) -> BTreeSet<HeapName> {
        let facts = self.engine.facts();
        let bound = self
            .engine
            .kernels()
            .map(|kernel| &kernel.heap)
            .filter(|heap| facts.heaps.contains(heap));
        named_heaps(self.engine.policy(), facts).into_iter().chain(bound).cloned().collect()
    }

    /// Returns whether no GPU waits for buffers.
    pub(crate) fn gpus_have_buffers(&self) -> bool {
        self.engine.is_done() && self.engine.kernels().all(|kernel| kernel.suspend_wanted == 0)
    }
}
