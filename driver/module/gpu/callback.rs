// SPDX-License-Identifier: GPL-2.0

//! Calls of the attached driver's functions.

use super::{
    Binding,
    Gpu,
    Inner, //
};
use crate::abstractions::{
    abi::{
        Callback,
        Ops, //
    },
    device::DeviceLock, //
};

impl Inner {
    /// Returns whether a driver is attached that was not notified of the binding.
    pub(super) fn is_late(&self) -> bool {
        let is_unknown = |binding: &Binding| {
            binding.is_bound() && !binding.is_notified && !binding.buffers().firmware_in_use()
        };
        self.consumer.is_some() && self.binding.as_ref().is_some_and(is_unknown)
    }

    /// Returns the driver's function that `which` selects, for an immediate call.
    fn begin_call(&mut self, which: impl FnOnce(&Ops) -> Option<Callback>) -> Option<Callback> {
        let consumer = self.consumer.as_mut()?;
        let function = which(&consumer.ops)?;
        consumer.is_called = true;
        Some(function)
    }
}

impl Gpu {
    /// Notifies an attached driver of a binding that came late.
    pub(super) fn call_bound(&self) {
        self.call(Inner::is_late, |inner| {
            inner.binding.as_mut()?.is_notified = true;
            inner.begin_call(Ops::bound)
        });
    }

    /// Makes the driver release the firmware's buffer, if it implements this and `when` is true.
    pub(super) fn call_release(&self, when: impl Fn(&Binding) -> bool) {
        let holds = |inner: &Inner| {
            let binding = inner.binding.as_ref();
            binding.is_some_and(|binding| binding.buffers().firmware_in_use() && when(binding))
        };
        self.call(holds, |inner| inner.begin_call(Ops::release));
    }

    /// Calls the function of the attached driver that `begin` returns, with the device's lock held,
    /// if `when` is true.
    fn call(
        &self,
        when: impl Fn(&Inner) -> bool,
        begin: impl FnOnce(&mut Inner) -> Option<Callback>,
    ) {
        if !when(&self.inner.lock()) {
            return;
        }
        let _lock = DeviceLock::new(&self.dev);
        let mut inner = self.inner.lock();
        if !when(&inner) {
            return;
        }
        if let Some(function) = begin(&mut inner) {
            drop(inner);
            // SAFETY: The driver is attached, and `detach()` waits for this to return.
            unsafe { function.call(&self.dev) };
            let mut inner = self.inner.lock();
            if let Some(consumer) = &mut inner.consumer {
                consumer.is_called = false;
            }
            self.wake(&inner);
        }
    }
}
