// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interface of the machines to their callers.

use std::borrow::Cow;

use protheap_policy::name::DeviceName;
use protheap_policy::policy::Policy;

use super::action::Action;
use super::binding::Binding;
use super::event::Event;
use crate::decision::{Patience, decide_gpu};
use crate::facts::{Facts, KernelBinding};
use crate::next::Next;
use crate::timeline::Monotonic;
use crate::trace::{Considered, bound_trace};

/// The common interface of [`Binder`](super::Binder) and [`Keeper`](super::Keeper).
pub trait Machine: Sized {
    /// Whether the machine keeps bindings after its attempts have ended.
    const KEEPS: bool;

    /// Creates a machine with these facts. It acts from [`Event::Started`] on.
    fn new(policy: Policy, facts: Facts) -> Self;

    /// Processes an event that occurred at `now`, and returns the actions to carry out.
    fn on(&mut self, event: Event, now: Monotonic) -> Vec<Action>;

    /// Returns the policy.
    fn policy(&self) -> &Policy;

    /// Returns the current facts.
    fn facts(&self) -> &Facts;

    /// Returns the bindings by device name of the GPU.
    fn bindings(&self) -> impl Iterator<Item = (&DeviceName, &Binding)> + Clone;

    /// Returns whether no attempt and no action is pending.
    fn is_done(&self) -> bool;

    /// Returns the kernel's binding as last read; always `None` in the binder.
    fn kernel(&self, _device: &DeviceName) -> Option<&KernelBinding> {
        None
    }

    /// Returns what selection would bind now, if that differs from the binding; always `None` in
    /// the binder.
    fn next(&self, _device: &DeviceName) -> Option<Next> {
        None
    }

    /// Returns the binding of a GPU.
    fn binding(&self, device: &DeviceName) -> Option<&Binding> {
        self.bindings().find(|(of, _)| *of == device).map(|(_, binding)| binding)
    }

    /// Returns the candidates and their outcomes as of the last selection. For a binding that an
    /// earlier run made, the outcomes are those of a selection now.
    fn considered<'a>(&self, device: &DeviceName, binding: &'a Binding) -> Cow<'a, [Considered]> {
        let Some(heap) = binding.heap().filter(|_| binding.is_bound()) else {
            return Cow::Borrowed(&binding.trace);
        };
        let gpu = self.facts().gpus.get(device);
        let trace = match gpu {
            Some(gpu) if Self::KEEPS && binding.trace.is_empty() => {
                let policy = binding.policy();
                decide_gpu(policy, self.facts(), gpu, Patience::LastCall).trace
            }
            _ => binding.trace.clone(),
        };
        bound_trace(trace, heap, gpu.and_then(|gpu| gpu.verdicts.get(heap))).into()
    }
}
