// SPDX-License-Identifier: MIT OR Apache-2.0

//! Heap selection: computes a plan and a trace for each GPU from the policy and the facts.

use std::collections::BTreeMap;

use serde::Serialize;

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::{GpuPolicy, Policy};
use protheap_policy::schema::{Candidate, Pattern};

use crate::facts::{Delivery, Facts, Gpu, HeapModule, Parameter, Protection, Provider, Verdict};
use crate::request::{Request, may_be_unprotected};
use crate::state::Reason;
use crate::trace::{Considered, Outcome, allocated};
use crate::unmet::{unmet_by_machine, unmet_by_tees};

/// Selection results for all GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Results by device name of the GPU.
    pub gpus: BTreeMap<DeviceName, GpuDecision>,
}

/// Selection result for one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuDecision {
    /// Next step for the GPU.
    pub plan: Plan,
    /// Every candidate in policy order, with its outcome.
    pub trace: Vec<Considered>,
}

/// Next step for a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// Wait for a preferred heap that can still appear.
    Wait,
    /// Allocate buffers from this heap and classify their protection.
    Try(Request),
    /// Bind this heap, whose buffers were allocated and accepted.
    Bind(Request),
    /// Keep the heap that the GPU driver's parameter already names.
    Keep(HeapName),
    /// Leave the GPU unprotected. This is not an error.
    Without(Reason),
    /// Leave the GPU unprotected because a present heap was rejected. This is an error.
    Fail(Reason),
}

impl Plan {
    /// Returns whether a heap is selected, or a candidate is still pending.
    pub(crate) fn can_bind(&self) -> bool {
        matches!(self, Self::Wait | Self::Try(_) | Self::Bind(_))
    }
}

/// Whether selection waits for heaps that can still appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Wait for a preferred heap that can still appear.
    Wait,
    /// Select from the heaps that are present, because the hold is about to expire.
    LastCall,
}

/// Selects a heap for every GPU.
pub fn decide(policy: &Policy, facts: &Facts) -> Decision {
    let mut gpus = BTreeMap::new();
    for (device, gpu) in &facts.gpus {
        let gpu_policy = policy.gpu(device, &gpu.compatible);
        let decision = decide_gpu(gpu_policy.as_ref(), facts, gpu, Patience::Wait);
        gpus.insert(device.clone(), decision);
    }
    Decision { gpus }
}

/// Selects a heap for one GPU under the policy that applies to it.
pub fn decide_gpu(
    policy: Option<&GpuPolicy>,
    facts: &Facts,
    gpu: &Gpu,
    patience: Patience,
) -> GpuDecision {
    let Some(policy) = policy else {
        return GpuDecision { plan: Plan::Without(Reason::NoPolicy), trace: Vec::new() };
    };
    let mut search =
        Search { policy, facts, gpu, patience, failed: None, ambiguous: false, unfit: false };
    let mut trace = Vec::new();
    let mut plan = None;
    for candidate in policy.heaps() {
        let (outcome, detail) = if plan.is_some() {
            (Outcome::NotReached, String::new())
        } else {
            let (outcome, detail, found) = search.consider(candidate);
            plan = found;
            (outcome, detail)
        };
        let origin = candidate.origin.to_string();
        trace.push(Considered { candidate: candidate.name.to_string(), origin, outcome, detail });
    }
    let plan = plan.unwrap_or_else(|| search.exhausted());
    let plan = match plan {
        Plan::Wait | Plan::Try(_) | Plan::Bind(_) => match facts.kernel.delivery(gpu) {
            Delivery::Ioctl | Delivery::Module => plan,
            Delivery::PanthorParameter | Delivery::None => without_module(policy, facts, gpu, plan),
        },
        plan => plan,
    };
    GpuDecision { plan, trace }
}

/// Limits `plan` to what is possible without protheap.ko and with a driver that takes no buffer by
/// ioctl: panthor's parameter is the only way to pass a heap to it.
fn without_module(policy: &GpuPolicy, facts: &Facts, gpu: &Gpu, plan: Plan) -> Plan {
    let of_panthor = gpu.driver.as_ref().is_none_or(|driver| driver == "panthor");
    match &facts.kernel.parameter {
        Some(Parameter::Open) if of_panthor => plan,
        Some(Parameter::Set(name)) if of_panthor => {
            let named = |heap: &&HeapName| {
                heap.as_str() == name
                    && policy.heaps().iter().any(|candidate| candidate.name.fits(heap))
            };
            let heap = facts.heaps.iter().find(named);
            heap.map_or(Plan::Without(Reason::AlreadyProbed), |heap| Plan::Keep(heap.clone()))
        }
        _ => Plan::Without(Reason::NoConsumer),
    }
}

struct Search<'a> {
    policy: &'a GpuPolicy,
    facts: &'a Facts,
    gpu: &'a Gpu,
    patience: Patience,
    /// Why the most preferred heap that was tried was rejected.
    failed: Option<Reason>,
    /// Whether more than one heap matched a prefix.
    ambiguous: bool,
    /// Whether a present heap was rejected because the machine does not meet its conditions.
    unfit: bool,
}

enum Condition {
    Met,
    Unmet(String),
    /// No TEE has registered yet, and one still can.
    Open,
}

impl Search<'_> {
    fn consider(&mut self, candidate: &Candidate) -> (Outcome, String, Option<Plan>) {
        // The kernel and the SoC do not change while the machine runs.
        if let Some(why) = unmet_by_machine(&candidate.conditions, self.facts) {
            self.unfit |= self.facts.heaps.iter().any(|heap| candidate.name.fits(heap));
            return (Outcome::ConditionUnmet, why, None);
        }
        match &candidate.name {
            Pattern::Exact(name) => self.consider_heap(candidate, name),
            Pattern::Prefix(_) => {
                if self.can_come(candidate) {
                    let detail =
                        "counted once every provider has probed or failed to probe".to_owned();
                    return (Outcome::Awaited, detail, Some(Plan::Wait));
                }
                let heaps = self.facts.heaps.iter();
                let matching: Vec<_> = heaps.filter(|heap| candidate.name.fits(heap)).collect();
                match matching[..] {
                    [] => (Outcome::Absent, self.failures(candidate), None),
                    [heap] => self.consider_heap(candidate, heap),
                    _ => {
                        self.ambiguous = true;
                        let names: Vec<_> = matching.iter().map(|heap| heap.as_str()).collect();
                        (Outcome::Ambiguous, names.join(" "), None)
                    }
                }
            }
        }
    }

    fn consider_heap(
        &mut self,
        candidate: &Candidate,
        heap: &HeapName,
    ) -> (Outcome, String, Option<Plan>) {
        if !self.facts.heaps.contains(heap) {
            return if self.can_come(candidate) {
                (Outcome::Awaited, String::new(), Some(Plan::Wait))
            } else {
                (Outcome::Absent, self.failures(candidate), None)
            };
        }
        match self.condition(candidate) {
            Condition::Met => {}
            Condition::Unmet(why) => {
                self.unfit = true;
                return (Outcome::ConditionUnmet, why, None);
            }
            Condition::Open => {
                let detail = "its TEE has not registered yet".to_owned();
                return (Outcome::Awaited, detail, Some(Plan::Wait));
            }
        }
        let (outcome, detail, reason) = match self.gpu.verdicts.get(heap) {
            None => {
                let plan = Plan::Try(self.request(candidate, heap));
                return (Outcome::Untried, String::new(), Some(plan));
            }
            Some(Verdict::Dead) if self.can_come(candidate) => {
                // A TEE that registers again revives its heaps.
                let detail = "it is dead, and its TEE can still come back".to_owned();
                return (Outcome::Awaited, detail, Some(Plan::Wait));
            }
            Some(Verdict::Dead) => (Outcome::Dead, "", Reason::HeapDead),
            Some(Verdict::TooSmall(why)) => (Outcome::TooSmall, why.as_str(), Reason::HeapTooSmall),
            Some(Verdict::Allocated { protection: Protection::None, .. })
                if !self.policy.allow_unprotected() =>
            {
                (Outcome::NotProtected, "", Reason::HeapNotProtected)
            }
            Some(Verdict::Allocated { protection: Protection::None, .. })
                if !may_be_unprotected(self.policy, self.facts, self.gpu) =>
            {
                let detail = match self.facts.kernel.lockdown {
                    true => "allow-unprotected has no effect under kernel lockdown",
                    false => {
                        "allow-unprotected has no effect with the delivery `ioctl`: the GPU driver \
                         accepts no memory that the CPU can map"
                    }
                };
                (Outcome::NotProtected, detail, Reason::HeapNotProtected)
            }
            Some(Verdict::Allocated { exporter, shortage, .. }) => {
                let plan = Plan::Bind(self.request(candidate, heap));
                let detail = allocated(exporter, shortage.as_ref());
                return (Outcome::Chosen, detail, Some(plan));
            }
        };
        self.failed = self.failed.or(Some(reason));
        (outcome, detail.to_owned(), None)
    }

    /// Returns whether a provider of the candidate is still pending.
    fn can_come(&self, candidate: &Candidate) -> bool {
        if self.patience == Patience::LastCall {
            return false;
        }
        if candidate.module.is_some() {
            return self.module(candidate).is_some_and(|module| !module.has_finished());
        }
        let mut providers = self.facts.providers.values();
        providers.any(|provider| !provider.has_finished() && is_provider_of(provider, candidate))
    }

    /// Returns the state of the module that the candidate names.
    fn module(&self, candidate: &Candidate) -> Option<HeapModule> {
        self.facts.heap_modules.get(candidate.module.as_ref()?).copied()
    }

    /// Returns the probe failures of the candidate's providers, or the state of its module if the
    /// module can register no heap; else an empty string.
    fn failures(&self, candidate: &Candidate) -> String {
        if let Some(name) = &candidate.module {
            return match self.module(candidate) {
                Some(HeapModule::Missing) => format!("module {name} is not installed"),
                Some(HeapModule::Gone) => {
                    format!("module {name} failed to initialize, or was unloaded")
                }
                _ => String::new(),
            };
        }
        let providers = self.facts.providers.iter();
        let providers = providers.filter(|(_, provider)| is_provider_of(provider, candidate));
        let failures = providers.filter_map(|(device, provider)| {
            Some(format!("{device}: {}", provider.failure.as_ref()?.message))
        });
        failures.collect::<Vec<_>>().join("; ")
    }

    fn condition(&self, candidate: &Candidate) -> Condition {
        match unmet_by_tees(&candidate.conditions, &self.facts.tees) {
            None => Condition::Met,
            Some(_) if self.facts.tees.is_empty() && self.can_come(candidate) => Condition::Open,
            Some(why) => Condition::Unmet(why),
        }
    }

    fn request(&self, candidate: &Candidate, heap: &HeapName) -> Request {
        Request::new(self.policy, self.facts, self.gpu, candidate, heap)
    }

    /// Returns whether a device or a module on this machine can register a heap.
    fn has_provider(&self) -> bool {
        let mut modules = self.policy.heaps().iter().filter_map(|one| self.module(one));
        !self.facts.providers.is_empty() || modules.any(HeapModule::is_there)
    }

    /// Returns the plan for a GPU whose candidates were all rejected.
    fn exhausted(&self) -> Plan {
        if let Some(reason) = self.failed {
            Plan::Fail(reason)
        } else if self.ambiguous || self.policy.heaps().is_empty() {
            Plan::Without(Reason::NoPolicy)
        } else if !self.has_provider() && !self.unfit {
            Plan::Without(Reason::NoProvider)
        } else {
            Plan::Without(Reason::NoHeap)
        }
    }
}

/// Returns whether `provider` can register the heap of a candidate without a module. A candidate
/// that names no provider accepts any.
fn is_provider_of(provider: &Provider, candidate: &Candidate) -> bool {
    candidate.provider.as_ref().is_none_or(|name| provider.compatible.contains(name))
}

#[cfg(test)]
mod tests;
