// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a daemon does with bindings that have come to an end: it takes over what others bound,
//! meets what the kernel asks for, takes a binding away when its TEE goes, and begins anew when a
//! fact has changed.

use super::{Action, Binding, Engine, Monotonic, Phase, Supplied};
use crate::facts::{Facts, KernelBinding, Source};
use crate::name::DeviceName;
use crate::state::{Reason, State};

/// How long after a first failure it is tried again, in microseconds; twice as long after each
/// further one, up to 64 times.
const RETRY: u64 = 1_000_000;

/// How many steps of a timeline are kept: a daemon runs for as long as the machine does.
const STEPS: usize = 100;

/// What a daemon has to do for a binding at its end, and what it did in vain.
#[derive(Debug, Clone, Default)]
pub(super) struct Upkeep {
    /// What the kernel has may have changed.
    look: bool,
    /// The kernel wants suspend buffers, and it is time to hand them over.
    supply: bool,
    /// It failed: not again before then, unless something changes.
    retry: Option<Monotonic>,
    failures: u32,
    /// The kernel refused: no time helps, only a change.
    refused: bool,
    /// What people were told.
    told: Option<String>,
}

impl Upkeep {
    fn after(&mut self, now: Monotonic) {
        self.retry = Some(Monotonic(now.0 + (RETRY << self.failures.min(6))));
        self.failures += 1;
    }
}

impl<const DAEMON: bool> Engine<DAEMON> {
    /// A fact has changed, of one GPU or of all: what is bound is looked at, and what is not is
    /// begun anew.
    pub(super) fn look_again(&mut self, only: Option<&DeviceName>) {
        for (device, gpu) in &mut self.facts.gpus {
            let Some(binding) = self.bindings.get_mut(device) else { continue };
            if only.is_some_and(|only| only != device) || binding.phase != Phase::Ended {
                continue;
            }
            let old = binding.timeline.len().saturating_sub(STEPS);
            binding.timeline.drain(..old);
            let told = binding.upkeep.told.take();
            binding.upkeep = Upkeep { told, ..Upkeep::default() };
            // What a driver's parameter says is a fact itself.
            if binding.is_bound() && self.facts.kernel.parameter.is_none() {
                binding.look();
            } else {
                gpu.verdicts.clear();
                binding.phase = Phase::New;
            }
        }
    }
}

impl Binding {
    fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound | State::InUse)
    }

    /// The kernel may have something else than it had.
    pub(super) fn look(&mut self) {
        self.upkeep.look = true;
    }

    /// The driver still has what was withdrawn.
    pub(super) fn busy(&mut self, why: String, now: Monotonic) {
        // Told when it began: it is tried again, and again.
        let why = if self.reason == Some(Reason::Withdrawn) { String::new() } else { why };
        self.end(State::Unprotected, Some(Reason::Withdrawn), now, why);
        self.upkeep.after(now);
    }

    /// What the kernel has.
    pub(super) fn looked(&mut self, found: Result<Option<KernelBinding>, String>, now: Monotonic) {
        match (self.phase, found) {
            (Phase::Looking | Phase::Ended, Ok(Some(kernel))) => self.stands(&kernel, now),
            (Phase::Looking, Ok(None)) => self.phase = Phase::Unbound,
            (Phase::Looking, Err(why)) => {
                self.end(State::Failed, Some(Reason::KernelRefused), now, why);
            }
            (Phase::Ended, Ok(None)) if self.is_bound() => {
                self.kernel = None;
                self.upkeep = Upkeep::default();
                self.end(State::Unprotected, Some(Reason::Withdrawn), now, String::new());
            }
            // The driver may have let go of what was withdrawn.
            (Phase::Ended, Ok(None)) if self.upkeep.retry.is_some() => self.phase = Phase::Unbound,
            _ => {}
        }
    }

    /// It is bound. What another run bound is taken over.
    fn stands(&mut self, kernel: &KernelBinding, now: Monotonic) {
        if self.is_bound() && self.heap() == Some(&kernel.heap) {
            self.state = if kernel.in_use { State::InUse } else { State::Bound };
        } else {
            self.adopt(kernel.heap.clone(), kernel.in_use, now);
            if let Some(policy) = &mut self.policy {
                policy.keep_to(&kernel.heap);
            }
        }
        let known = self.kernel.replace(kernel.clone());
        if kernel.source != Source::Handed || kernel.suspend_wanted == 0 {
            self.upkeep = Upkeep::default();
            return;
        }
        let grown = known.is_none_or(|known| {
            kernel.suspend_wanted > known.suspend_wanted
                || kernel.suspend_bytes > known.suspend_bytes
        });
        self.upkeep.supply = grown || self.upkeep.retry.is_none() && !self.upkeep.refused;
    }

    /// What is to be done for a binding at its end.
    pub(super) fn attend(
        &mut self,
        device: &DeviceName,
        facts: &Facts,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        let kernel = self.kernel.as_ref().filter(|_| self.is_bound());
        if let Some(kernel) = kernel {
            if kernel.is_of_tee() && !facts.has_tee_for_heaps() {
                // Its driver waits for the last buffer: those that nobody uses go now.
                actions.push(Action::Remove(device.clone()));
                self.kernel = None;
                self.upkeep = Upkeep::default();
                self.step(now, "withdrawn", "its TEE has gone".to_owned());
                return self.end(State::Failed, Some(Reason::HeapDead), now, String::new());
            }
            if self.upkeep.supply && !self.upkeep.look {
                actions.push(Action::Supply(device.clone(), kernel.heap.clone()));
                self.upkeep.supply = false;
                self.phase = Phase::Supplying;
                return;
            }
        }
        match self.upkeep.retry {
            Some(at) if now < at => actions.push(Action::WakeAt(at)),
            Some(_) => {
                self.upkeep.retry = None;
                if self.is_bound() {
                    self.upkeep.look = true;
                } else {
                    self.phase = Phase::Unbound;
                    return;
                }
            }
            None => {}
        }
        if std::mem::take(&mut self.upkeep.look) {
            actions.push(Action::Look(device.clone()));
        }
    }

    /// What came of supplying it.
    pub(super) fn supplied(
        &mut self,
        device: &DeviceName,
        supplied: Supplied,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        self.phase = Phase::Ended;
        // Also after a success: what is still wanted then, as much and as large as before, is
        // wanted in vain.
        self.upkeep.after(now);
        let why = match supplied {
            Supplied::All => {
                self.step(now, "supplied", String::new());
                None
            }
            Supplied::NoMemory(why) => Some(why),
            Supplied::Refused(why) => {
                self.upkeep.retry = None;
                self.upkeep.refused = true;
                Some(why)
            }
        };
        if let Some(why) = why
            && self.upkeep.told.as_ref() != Some(&why)
        {
            self.step(now, "supply-failed", why.clone());
            actions.push(Action::Tell(device.clone(), why.clone()));
            self.upkeep.told = Some(why);
        }
        self.look();
    }
}

#[cfg(test)]
mod tests;
