// SPDX-License-Identifier: MIT OR Apache-2.0

//! Starts and ends the hold of a GPU's probe.

use protheap_board::module::{BindingState, Commit, Window};
use protheap_core::engine::{Binding, Monotonic, Opened};
use protheap_core::facts::Source;
use protheap_core::state::Reason;
use protheap_policy::name::{DeviceName, HeapName};

use super::{Executor, now};
use crate::Result;

impl<const DAEMON: bool> Executor<DAEMON> {
    pub(super) fn open(&mut self, device: &DeviceName, hold: u32) -> Result<Opened> {
        let source = self.engine.facts().kernel.source();
        let until = |left: u32| Opened::Window(Monotonic(now().0 + u64::from(left) * 1_000));
        if source == Source::Driver {
            // The binder delays the boot instead.
            return Ok(if hold == 0 { Opened::NoWindow } else { until(hold) });
        }
        let module = self.module()?;
        let mut binding = match module.create(device) {
            Err(error) if DAEMON && error.is_busy() => {
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
            _ if hold == 0 => return Ok(Opened::NoWindow),
            _ => {}
        }
        Ok(match binding.open_window(hold)? {
            Window::Opened => until(hold),
            Window::Forbidden | Window::Spent | Window::TooLate => Opened::NoWindow,
        })
    }

    /// Releases the buffers of `device` and has the kernel report the next protected group.
    pub(super) fn bind_on_demand(&mut self, device: &DeviceName) -> Result<()> {
        let binding = self.module()?.binding(device)?.ok_or("the binding was withdrawn")?;
        Ok(binding.commit(Commit::Demand)?)
    }

    /// Ends the hold, and leaves the reason in the kernel.
    pub(super) fn release(&mut self, device: &DeviceName) -> Result<()> {
        if self.engine.facts().kernel.source() == Source::Driver {
            // The boot continues after every selection.
            return Ok(());
        }
        let reason = self.engine.bindings().get(device).and_then(Binding::reason);
        if let Some(binding) = self.module()?.binding(device)? {
            binding.set_origin(reason.map_or("", Reason::as_str))?;
            binding.commit(Commit::None)?;
        }
        Ok(())
    }
}
