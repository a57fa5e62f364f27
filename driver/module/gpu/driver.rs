// SPDX-License-Identifier: GPL-2.0

//! The driver's side: the functions of `protheap.h`.

use super::{
    Binding,
    Consumer,
    Gpu,
    Suspend, //
};
use crate::abstractions::compat::EDQUOT;
use crate::abstractions::{
    abi::Ops,
    device::DriverName,
    dma_buf::DmaBuf, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Msecs, //
    }, //
};

/// Maximum time that a driver waits for a suspend buffer.
const SUSPEND_WAIT: Msecs = 100;

impl Gpu {
    /// See `protheap_attach()`.
    pub(crate) fn attach(&self, ops: Ops) -> Result {
        let mut inner = self.inner.lock();
        if inner.consumer.is_some() {
            return Err(EBUSY);
        }
        if let Some(binding) = &mut inner.binding {
            if binding.hold_left_ms().is_some() {
                inner.is_deferred = true;
                return Err(EPROBE_DEFER);
            }
            binding.is_notified = binding.is_bound();
        }
        inner.consumer = Some(Consumer {
            ops,
            is_called: false,
        });
        Ok(())
    }

    /// See `protheap_detach()`.
    pub(crate) fn detach(&self) {
        let mut inner = self.inner.lock();
        while inner
            .consumer
            .as_ref()
            .is_some_and(|consumer| consumer.is_called)
        {
            inner.waiting += 1;
            self.changed.wait(&mut inner);
            inner.waiting -= 1;
        }
        inner.consumer = None;
        if let Some(binding) = &mut inner.binding {
            binding.detach();
        }
        self.publish(inner);
    }

    /// See `protheap_firmware_buffer()`.
    pub(crate) fn take_firmware(&self, size: usize) -> Result<DmaBuf> {
        let mut inner = self.inner.lock();
        let binding = inner.binding.as_mut().ok_or(ENOENT)?;
        let buffer = binding.take_firmware(size).inspect_err(|err| {
            if *err != EMSGSIZE {
                return;
            }
            binding.statistics.refuse(*err);
            if binding.statistics.firmware.is_first(*err) {
                dev_warn!(
                    self.dev,
                    "protheap: firmware needs a {size}-byte protected buffer, got {} bytes; set `firmware` in the policy\n",
                    binding.buffers().firmware_bytes()
                );
            }
        })?;
        self.publish(inner);
        Ok(buffer)
    }

    /// See `protheap_firmware_put()`.
    pub(crate) fn put_firmware(&self) {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            binding.put_firmware();
        }
        self.publish(inner);
    }

    /// See `protheap_suspend_configure()`.
    pub(crate) fn configure_suspend(&self, size: usize) -> Result {
        let mut inner = self.inner.lock();
        inner.bound()?.configure_suspend(size);
        self.supply.queue(0);
        self.publish(inner);
        Ok(())
    }

    /// Takes a suspend buffer for a client that holds `held`; see `protheap_suspend_get()`.
    pub(crate) fn take_suspend(&self, held: u32, limit: u32) -> Result<NonNull<Suspend>> {
        self.demand()?;
        let mut inner = self.inner.lock();
        let mut patience = msecs_to_jiffies(SUSPEND_WAIT);
        let mut waited = false;
        loop {
            let binding = inner.bound()?;
            let is_first = binding.suspend().in_use() == 0;
            let err = match binding.take_suspend(held, limit) {
                Ok(suspend) => {
                    if is_first {
                        self.publish(inner);
                    }
                    return Ok(suspend);
                }
                Err(err) => err,
            };
            // Only buffers that are still to come can raise a client's limit.
            let is_final = err == EDQUOT && binding.suspend_lacking() == 0;
            if patience == 0 || is_final || binding.options.suspend_count == 0 {
                if binding.statistics.fail_suspend(err) {
                    self.warn_exhausted(binding);
                }
                return Err(err);
            }
            if !waited {
                waited = true;
                binding.statistics.waits = binding.statistics.waits.saturating_add(1);
                // An allocation may have failed before, and the heap may have more memory now. Nothing
                // is allocated for a client at its limit.
                if err != EDQUOT {
                    self.supply.queue(0);
                }
            }
            patience = self.wait(&mut inner, patience)?;
        }
    }

    /// Logs that a driver got no suspend buffer. Only the driver knows its clients, and names them.
    fn warn_exhausted(&self, binding: &Binding) {
        let suspend = binding.suspend();
        dev_warn!(
            self.dev,
            "protheap: failed to provide a suspend buffer: driver {} holds {} of {}; end protected playback, or raise `suspend` in the policy (now {})\n",
            DriverName(&self.dev),
            suspend.in_use(),
            suspend.len(),
            binding.options.suspend_count,
        );
    }

    /// See `protheap_suspend_put()`.
    pub(crate) fn put_suspend(&self, suspend: NonNull<Suspend>) {
        let mut inner = self.inner.lock();
        let Some(binding) = &mut inner.binding else {
            return;
        };
        let stays = binding.put_suspend(suspend);
        let is_last = binding.suspend().in_use() == 0;
        self.wake(&inner);
        if !stays {
            self.supply.queue(0);
        }
        if is_last || !stays {
            self.publish(inner);
        }
    }
}
