// SPDX-License-Identifier: MIT OR Apache-2.0

//! Starts and ends the hold of a GPU's probe.

use protheap_board::module::{BindingState, Commit, Hold};
use protheap_core::engine::{Machine, Monotonic, Opened};
use protheap_core::facts::Source;
use protheap_core::state::Reason;
use protheap_policy::name::{DeviceName, HeapName};

use super::{Executor, now};
use crate::Result;
use crate::kernel::{Binding as _, Kernel};

impl<M: Machine, K: Kernel> Executor<M, K> {
    pub(super) fn open(&mut self, device: &DeviceName, hold: u32) -> Result<Opened> {
        let source = self.source(device);
        let until = |left: u32| Opened::Held(Monotonic(now().0 + u64::from(left) * 1_000));
        if source == Source::Driver {
            // The binder delays the boot instead.
            return Ok(if hold == 0 { Opened::NotHeld } else { until(hold) });
        }
        if source == Source::Ioctl {
            return self.open_ioctl(device);
        }
        let module = self.module()?;
        let mut binding = match module.create(device) {
            Err(error) if M::KEEPS && error.is_busy() => {
                return Ok(Opened::Busy(error.to_string()));
            }
            created => created?,
        };
        if binding.is_adopted() {
            match binding.state()? {
                state @ (BindingState::Bound | BindingState::InUse) => {
                    let heap = HeapName::new(&binding.heap()?)?;
                    return Ok(Opened::Adopted(heap, state == BindingState::InUse));
                }
                BindingState::None => {
                    // An earlier run ended without a binding. This run selects again.
                    module.remove(device)?;
                    binding = module.create(device)?;
                }
                BindingState::OnDemand => {
                    binding.renew(source)?;
                    return Ok(Opened::OnDemand);
                }
                state @ (BindingState::Held | BindingState::Open) => {
                    // The heap may not have enough memory for the buffers of an earlier run and
                    // those of this one.
                    binding.renew(source)?;
                    if state == BindingState::Held {
                        return Ok(until(binding.hold_left()?));
                    }
                }
            }
        }
        match binding.reason()?.as_str() {
            "already-probed" => return Ok(Opened::AlreadyProbed),
            "no-consumer" => return Ok(Opened::NoConsumer),
            _ if hold == 0 => return Ok(Opened::NotHeld),
            _ => {}
        }
        Ok(match binding.start_hold(hold)? {
            Hold::Started => until(hold),
            Hold::Forbidden | Hold::Spent | Hold::TooLate => Opened::NotHeld,
        })
    }

    /// Returns who allocates the buffers of `device`.
    fn source(&self, device: &DeviceName) -> Source {
        let facts = self.engine.facts();
        facts.gpus.get(device).map_or(Source::Handed, |gpu| facts.kernel.source(gpu))
    }

    /// Releases the buffers of `device` and has the kernel report the next protected group.
    pub(super) fn bind_on_demand(&mut self, device: &DeviceName) -> Result<()> {
        let binding = self.module()?.binding(device)?.ok_or("the binding was withdrawn")?;
        Ok(binding.commit(Commit::Demand)?)
    }

    /// Ends the hold, and leaves the reason in the kernel.
    pub(super) fn end_hold(&mut self, device: &DeviceName, reason: Reason) -> Result<()> {
        if self.source(device) == Source::Driver {
            // The boot continues after every selection.
            return Ok(());
        }
        if let Some(binding) = self.module()?.binding(device)? {
            binding.set_origin(reason.as_str())?;
            binding.commit(Commit::None)?;
        }
        Ok(())
    }
}
