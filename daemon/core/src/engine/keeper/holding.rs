// SPDX-License-Identifier: MIT OR Apache-2.0

//! A heap that is bound, and the upkeep of its binding.

use super::upkeep::Upkeep;
use crate::engine::action::Action;
use crate::engine::attempt::At;
use crate::engine::event::Supplied;
use crate::facts::{KernelBinding, Source};
use crate::timeline::Monotonic;

/// Maximum number of consecutive allocations of further suspend buffers from a heap without memory.
/// After that, only a change starts another attempt: of a fact, of the policy, or of the size or
/// number that the GPU driver requests.
pub(super) const ATTEMPTS: u32 = 8;

/// Maximum time for which a binding can precede its TEE, in microseconds. A TEE's heaps appear
/// before the TEE does, and are bound at once.
pub(super) const TEE_COMES: u64 = 1_000_000;

/// Minimum time without a driver before a binding is withdrawn in favour of a preferred heap, in
/// microseconds. A driver that is rebound within this time finds its binding unchanged.
pub(super) const DRIVER_RETURNS: u64 = 1_000_000;

/// Time after which a binding on demand without protected groups is released, in microseconds. A
/// player that restarts within it causes no further reset of the GPU.
pub(super) const IDLE: u64 = 10_000_000;

/// A heap that is bound to a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holding {
    /// Kernel binding as the keeper last read it.
    kernel: Option<KernelBinding>,
    task: Task,
    /// Whether the TEE of the heap has been registered since the heap was bound.
    tee: Option<TeeOfBinding>,
    /// Time at which the keeper saw that the driver had freed the buffers.
    free_since: Option<Monotonic>,
    /// Time since which a binding on demand has had no protected group.
    idle: Option<Monotonic>,
    /// Whether the kernel requests suspend buffers and no retry delay is running.
    supply: bool,
    /// Whether only a change starts another supply, because the kernel refused a buffer or all
    /// attempts failed.
    refused: bool,
    /// Error that was logged last.
    logged: Option<String>,
}

/// Pending action of a binding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Task {
    #[default]
    None,
    /// Suspend buffers are being handed over.
    Supplying,
    /// Buffers are being released until the next demand.
    Parking,
}

/// Whether the TEE of a binding has been registered since the heap was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TeeOfBinding {
    /// The TEE was registered. If it is not now, it has gone away.
    Seen,
    /// The TEE has not been registered yet. Counts from this time.
    Unseen(Monotonic),
}

/// Next step of a binding's upkeep.
pub(super) enum Need {
    Nothing,
    /// The result of an action that was requested.
    Result,
    /// Its TEE has gone.
    Withdrawal,
}

impl Holding {
    /// Returns whether no action is pending.
    pub(super) fn is_at_rest(&self) -> bool {
        self.task == Task::None
    }

    /// Returns the kernel's binding as last read.
    pub(super) fn kernel(&self) -> Option<&KernelBinding> {
        self.kernel.as_ref()
    }

    /// Returns the time at which the keeper saw that the driver had freed the buffers.
    pub(super) fn free_since(&self) -> Option<Monotonic> {
        self.free_since
    }

    /// Starts the idle time again.
    pub(super) fn set_busy(&mut self) {
        self.idle = None;
    }

    /// Permits to supply buffers again after a refusal, once the binding has been read.
    pub(super) fn reset_supply(&mut self) {
        (self.supply, self.refused) = (false, false);
    }

    /// Returns whether suspend buffers are being handed over.
    pub(super) fn is_supplying(&self) -> bool {
        self.task == Task::Supplying
    }

    /// Returns whether buffers are being released.
    pub(super) fn is_parking(&self) -> bool {
        self.task == Task::Parking
    }

    /// Ends the pending action.
    pub(super) fn end_task(&mut self) {
        self.task = Task::None;
    }

    /// Replaces the kernel's binding by one that was just read. `may_supply` is false during a
    /// retry delay. Returns whether the kernel requests buffers from user space.
    pub(super) fn update(
        &mut self,
        kernel: &KernelBinding,
        may_supply: bool,
        now: Monotonic,
    ) -> bool {
        let known = self.kernel.replace(kernel.clone());
        if known.as_ref().is_none_or(|known| known.heap != kernel.heap) {
            self.tee = None;
        }
        let was_in_use = known.as_ref().is_some_and(|known| known.in_use);
        let since = self.free_since.or(was_in_use.then_some(now));
        self.free_since = since.filter(|_| !kernel.in_use);
        if kernel.source != Source::Handed || kernel.suspend_wanted == 0 {
            self.reset_supply();
            self.logged = None;
            return false;
        }
        let has_grown = known.is_none_or(|known| {
            kernel.suspend_wanted > known.suspend_wanted
                || kernel.suspend_bytes > known.suspend_bytes
        });
        self.supply = has_grown || may_supply && !self.refused;
        true
    }

    /// Carries out pending upkeep. `is_stale` says whether the kernel's binding may have changed
    /// since it was read.
    pub(super) fn attend(
        &mut self,
        has_tee: bool,
        is_on_demand: bool,
        is_stale: bool,
        at: &mut At<'_>,
    ) -> Need {
        let Some(kernel) = &self.kernel else { return Need::Nothing };
        let lacks_tee = kernel.is_of_tee() && !has_tee;
        if !lacks_tee {
            self.tee = kernel.is_of_tee().then_some(TeeOfBinding::Seen);
        } else if let TeeOfBinding::Unseen(since) =
            *self.tee.get_or_insert(TeeOfBinding::Unseen(at.now))
        {
            let until = Monotonic(since.0 + TEE_COMES);
            if at.now < until {
                at.actions.push(Action::WakeAt(until));
            } else if !is_stale {
                return Need::Withdrawal;
            }
        } else {
            return Need::Withdrawal;
        }
        let (heap, has_groups) = (kernel.heap.clone(), kernel.suspend_in_use > 0);
        if is_on_demand && !is_stale && self.release_idle(has_groups, at) {
            return Need::Result;
        }
        if self.supply && !is_stale && !lacks_tee {
            self.supply = false;
            self.task = Task::Supplying;
            at.request(|device| Action::Supply(device, heap));
            return Need::Result;
        }
        Need::Nothing
    }

    /// Releases a binding on demand that has had no protected group for [`IDLE`]. Returns whether
    /// it did.
    fn release_idle(&mut self, has_groups: bool, at: &mut At<'_>) -> bool {
        if has_groups {
            self.idle = None;
            return false;
        }
        let until = Monotonic(self.idle.get_or_insert(at.now).0 + IDLE);
        if at.now < until {
            at.actions.push(Action::WakeAt(until));
            return false;
        }
        self.idle = None;
        at.binding.step(at.now, "released", "no protected group".to_owned());
        self.task = Task::Parking;
        at.request(Action::BindOnDemand);
        true
    }

    /// Processes the result of [`Action::Supply`].
    pub(super) fn supplied(&mut self, supplied: Supplied, upkeep: &mut Upkeep, at: &mut At<'_>) {
        self.end_task();
        // Delay the next attempt also after a success: if the kernel still requests as many buffers
        // as before and of the same size, it cannot use them.
        upkeep.delay(at.now);
        let is_final = match &supplied {
            Supplied::All => false,
            Supplied::NoMemory(_) => upkeep.failures >= ATTEMPTS,
            Supplied::Refused(_) => true,
        };
        if is_final {
            upkeep.retry = None;
            self.refused = true;
        }
        let why = match supplied {
            Supplied::All => {
                at.binding.step(at.now, "supplied", String::new());
                None
            }
            Supplied::NoMemory(why) | Supplied::Refused(why) => Some(why),
        };
        at.binding.shortage.clone_from(&why);
        if let Some(why) = why
            && self.logged.as_ref() != Some(&why)
        {
            at.binding.step(at.now, "supply-failed", why.clone());
            at.request(|device| Action::Log(device, why.clone()));
            self.logged = Some(why);
        }
    }
}
