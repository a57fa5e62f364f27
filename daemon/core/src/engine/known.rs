// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy and the facts of the board.

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::{GpuPolicy, Policy};

use super::event::Change;
use crate::facts::{Facts, Gpu, HeapModule, Provider, Verdict};

/// The policy and the current facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) policy: Policy,
    pub(super) facts: Facts,
}

/// A consequence of a changed fact.
#[derive(Debug)]
pub(super) enum Consequence {
    /// A step for the timeline of every GPU with a pending attempt, and its detail.
    Step(&'static str, String),
    /// A GPU was added.
    Came(DeviceName),
    /// A GPU was removed.
    Left(DeviceName),
}

impl Known {
    /// Returns the policy that applies to a GPU.
    pub(super) fn policy_of(&self, device: &DeviceName) -> Option<GpuPolicy> {
        self.policy.gpu(device, &self.facts.gpus.get(device)?.compatible)
    }

    /// Returns a step for each provider whose probe has failed.
    pub(super) fn failures(&self) -> Vec<Consequence> {
        let providers = self.facts.providers.iter();
        providers.filter_map(|(device, provider)| failed(device, provider)).collect()
    }

    /// Applies a change to the facts. A change that is none of the facts has no effect.
    pub(super) fn apply(&mut self, change: Change) -> Vec<Consequence> {
        let mut consequences = Vec::new();
        match change {
            Change::Heap(heap) => {
                // The heap may have been found in sysfs before its event arrived.
                if self.facts.heaps.insert(heap.clone()) {
                    consequences.push(appeared(&heap));
                }
            }
            Change::Tees(tees) => self.facts.tees = tees,
            Change::Provider(device, None) => {
                self.facts.providers.remove(&device);
            }
            Change::Provider(device, Some(provider)) => {
                consequences.extend(self.set_provider(device, provider));
            }
            Change::Module(name, module) => consequences.extend(self.set_module(name, module)),
            Change::Gpu(device, gpu) => consequences.extend(self.set_gpu(device, gpu)),
            Change::Binding(_) | Change::Demand(_) | Change::Policy(_) => {}
            Change::All(facts) => self.replace(*facts, &mut consequences),
        }
        consequences
    }

    fn set_provider(&mut self, device: DeviceName, provider: Provider) -> Option<Consequence> {
        let before = self.facts.providers.get(&device);
        let finishes =
            provider.has_finished() && before.is_none_or(|before| !before.has_finished());
        let mut step = None;
        if finishes {
            step = failed(&device, &provider);
            if step.is_none() {
                step = Some(Consequence::Step("provider-probed", device.to_string()));
                // A TEE that registers again revives its heaps.
                self.revive();
            }
        }
        self.facts.providers.insert(device, provider);
        step
    }

    fn set_module(&mut self, name: String, module: HeapModule) -> Option<Consequence> {
        let before = self.facts.heap_modules.insert(name.clone(), module);
        let finishes = module.has_finished() && before.is_none_or(|before| !before.has_finished());
        let word = match module {
            HeapModule::Coming if before != Some(HeapModule::Coming) => "module-loading",
            HeapModule::Live if finishes => {
                // Its heap may have refused allocations until now.
                self.revive();
                "module-loaded"
            }
            HeapModule::Gone if finishes => "module-failed",
            _ => return None,
        };
        Some(Consequence::Step(word, name))
    }

    /// Forgets that heaps refused allocations.
    fn revive(&mut self) {
        for gpu in self.facts.gpus.values_mut() {
            gpu.verdicts.retain(|_, verdict| *verdict != Verdict::Dead);
        }
    }

    fn set_gpu(&mut self, device: DeviceName, gpu: Option<Gpu>) -> Option<Consequence> {
        let before = self.facts.gpus.remove(&device);
        match (before, gpu) {
            (None, None) => None,
            (Some(_), None) => Some(Consequence::Left(device)),
            (None, Some(gpu)) => {
                self.facts.gpus.insert(device.clone(), gpu);
                Some(Consequence::Came(device))
            }
            (Some(before), Some(gpu)) => {
                // Earlier verdicts remain valid.
                self.facts.gpus.insert(device, Gpu { verdicts: before.verdicts, ..gpu });
                None
            }
        }
    }

    fn replace(&mut self, mut facts: Facts, consequences: &mut Vec<Consequence>) {
        consequences.extend(facts.heaps.difference(&self.facts.heaps).map(appeared));
        let gpus = std::mem::take(&mut facts.gpus);
        facts.gpus = std::mem::take(&mut self.facts.gpus);
        self.facts = facts;
        let known = self.facts.gpus.keys();
        let gone: Vec<_> = known.filter(|gpu| !gpus.contains_key(gpu)).cloned().collect();
        for device in gone {
            consequences.extend(self.set_gpu(device, None));
        }
        for (device, gpu) in gpus {
            consequences.extend(self.set_gpu(device, Some(gpu)));
        }
    }
}

fn appeared(heap: &HeapName) -> Consequence {
    Consequence::Step("heap-appeared", heap.to_string())
}

/// Returns the step for a provider whose probe has failed.
fn failed(device: &DeviceName, provider: &Provider) -> Option<Consequence> {
    let failure = provider.failure.as_ref()?;
    Some(Consequence::Step("provider-failed", format!("{device}: {}", failure.message)))
}
