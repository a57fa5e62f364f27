// SPDX-License-Identifier: MIT OR Apache-2.0

//! State machines that bind heaps to GPUs: they take events and the time, and return actions.
//!
//! The caller carries out the actions in order and reports their results as events. A GPU is held
//! only while the kernel's hold timeout runs. The kernel ends the hold by itself, whatever happens
//! to the caller.
//!
//! An attempt tries to bind one GPU. [`Binder`] runs one attempt for each GPU, holds the GPU until
//! its heap appears, and is done when every attempt has ended. [`Keeper`] serves the daemon: it
//! holds no GPU and does not end. It adopts the kernel's bindings, supplies suspend buffers,
//! withdraws a binding when its TEE goes away, and starts attempts when a fact or a policy changes
//! or a client requests one. The binder, which has to be small, contains none of the keeper's code.

mod action;
mod agree;
mod attempt;
mod binder;
mod binding;
mod event;
mod keeper;
mod known;

use std::borrow::Cow;

use protheap_policy::name::DeviceName;
use protheap_policy::policy::Policy;

pub use action::Action;
pub use binder::Binder;
pub use binding::Binding;
pub use event::{Bound, Change, Event, Opened, Supplied};
pub use keeper::{Keeper, NoDemand, NoRebind};

use crate::decision::{Patience, decide_gpu};
use crate::facts::{Facts, KernelBinding};
use crate::next::Next;
pub use crate::timeline::Monotonic;
use crate::trace::{Considered, bound_trace};

/// The common interface of [`Binder`] and [`Keeper`].
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

/// Returns the GPU that an event concerns, if it is the result of an action.
fn device_of(event: &Event) -> Option<&DeviceName> {
    match event {
        Event::Opened(device, _)
        | Event::Allocated(device, ..)
        | Event::Bound(device, _)
        | Event::OnDemand(device, _)
        | Event::Read(device, _)
        | Event::Supplied(device, _) => Some(device),
        Event::Started | Event::Changed(_) | Event::Woken | Event::Rebind(_) => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod two_gpus;
