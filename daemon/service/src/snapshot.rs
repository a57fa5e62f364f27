// SPDX-License-Identifier: MIT OR Apache-2.0

//! A snapshot of the bindings, for clients and the log.

use std::collections::BTreeSet;

use protheap_core::engine::{Binding, Engine};
use protheap_core::named::named_heaps;
use protheap_core::report::{GpuReport, Refused};
use protheap_policy::name::{DeviceName, HeapName};
use protheap_runtime::executor::Executor;

/// The state of all bindings at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) engine: Engine<true>,
    pub(crate) refused: Vec<Refused>,
}

impl Snapshot {
    pub(crate) fn of(executor: &Executor<true>) -> Self {
        Self { engine: executor.engine().clone(), refused: executor.refused().to_vec() }
    }

    /// Returns the report of a GPU.
    pub(crate) fn gpu<'a>(&'a self, device: &'a DeviceName) -> Option<GpuReport<'a>> {
        let (device, binding) = self.engine.bindings().get_key_value(device)?;
        Some(GpuReport::new(&self.engine, device, binding))
    }

    /// Returns the present heaps that the policies name or that are bound.
    pub(crate) fn heaps(&self) -> BTreeSet<HeapName> {
        let facts = self.engine.facts();
        let bound = self.engine.bindings().values().filter_map(Binding::kernel);
        let bound = bound.map(|kernel| &kernel.heap).filter(|heap| facts.heaps.contains(heap));
        named_heaps(self.engine.policy(), facts).into_iter().chain(bound).cloned().collect()
    }

    /// Returns whether no GPU waits for buffers.
    pub(crate) fn is_settled(&self) -> bool {
        let wants = |gpu: &Binding| gpu.kernel().is_some_and(|kernel| kernel.suspend_wanted > 0);
        self.engine.is_done() && !self.engine.bindings().values().any(wants)
    }
}
