// SPDX-License-Identifier: GPL-2.0

//! Returns a GPU's buffers to their heap before the memory has another owner: the machine goes
//! down, another kernel is started, or an image of the kernel is taken or restored (hibernation).
//! Or before the driver of the TEE is unbound, which waits for them.
//!
//! The secure world keeps its own account of protected memory. A kernel that was started or
//! restored meanwhile knows nothing of that account: it may use memory that the firewall still
//! denies to it, or take memory for protected that nothing protects any more.

use super::{
    Binding,
    Gpu,
    Inner,
    MutexGuard, //
};
use crate::{
    abstractions::{
        abi::{
            Callback,
            Ops, //
        },
        device::{
            release_driver,
            DeviceLock,
            DriverName, //
        },
        notifier::Cause, //
    },
    binding::Allocated,
    machine,
    statistics, //
};
use kernel::{
    prelude::*,
    str::BStr, //
};

impl Gpu {
    /// Returns all buffers to their heap, and has the driver release those that it holds.
    ///
    /// `EBUSY` if the driver still holds some and must not be unbound for that, because an image is
    /// to be taken: its user would find a dead GPU in it.
    pub(crate) fn evacuate(&self, cause: Cause) -> Result {
        self.inner.lock().evacuation = cause;
        // In a kernel thread: in a task that does not return to user space, a file is never closed.
        // Not on the freezable queue: a machine that hibernates is shut down while that is frozen.
        self.evacuation.run();
        // An allocation that was running has ended then, and its buffers were not taken.
        self.supply.cancel();
        self.inner.lock().evacuated
    }

    /// The task of [`Gpu::evacuation`].
    pub(super) fn run_evacuation(&self) {
        let cause = self.inner.lock().evacuation;
        let evacuated = match cause {
            Cause::ShutDown => {
                self.take_back();
                self.unbind_holder();
                Ok(())
            }
            Cause::TakeImage => self.release_for_image(),
            Cause::RestoreImage => {
                self.release_buffers();
                if self.unbind_holder() {
                    // It is probed again if the image cannot be restored.
                    self.inner.lock().deferred = true;
                }
                Ok(())
            }
            Cause::TeeLeaves => {
                if self.is_bound_to_tee() {
                    dev_info!(
                        self.dev,
                        "protheap: releasing protected buffers before OP-TEE's driver is unbound\n"
                    );
                    // User space hears of the TEE first, and why it has no binding after that.
                    drop(self.release_unused());
                }
                Ok(())
            }
        };
        self.inner.lock().evacuated = evacuated;
    }

    /// Whether the binding has buffers of the kernel's TEE heap driver, whichever TEE's.
    fn is_bound_to_tee(&self) -> bool {
        let inner = self.inner.lock();
        let binding = inner.binding.as_ref();
        binding.is_some_and(|binding| binding.buffers().exporter() == b"tee")
    }

    /// Releases all buffers, or none.
    fn release_for_image(&self) -> Result {
        let groups = {
            let mut inner = self.inner.lock();
            let Some(binding) = &mut inner.binding else {
                return Ok(());
            };
            // First, so that no further group takes a buffer.
            binding.park();
            let groups = binding.suspend().in_use();
            self.wake(&inner);
            groups
        };
        if groups > 0 {
            dev_warn!(
                self.dev,
                "protheap: failed to prepare for hibernation: driver {} holds {groups} suspend buffers of protected groups; end protected playback\n",
                DriverName(&self.dev)
            );
            return Err(EBUSY);
        }
        let before = self.buffer_count();
        self.release_buffers();
        let left = self.buffer_count();
        if left > 0 {
            dev_warn!(
                self.dev,
                "protheap: failed to prepare for hibernation: driver {} holds {left} protected buffers and does not release them; unbind the driver\n",
                DriverName(&self.dev)
            );
            return Err(EBUSY);
        }
        if before > 0 {
            dev_info!(
                self.dev,
                "protheap: released {before} protected buffers for hibernation\n"
            );
        }
        Ok(())
    }

    /// Parks the binding, and releases the buffers that the driver does not hold.
    fn release_unused(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            binding.park();
            binding.empty();
        }
        self.wake(&inner);
        inner
    }

    /// Parks the binding, and releases its buffers: first those that the driver does not hold, then
    /// the firmware's, if the driver can do without.
    fn release_buffers(&self) {
        self.publish(self.release_unused());
        self.release_firmware(|_| true);
    }

    /// Has the driver release the firmware's buffer, if it can do without and `when` says so.
    pub(super) fn release_firmware(&self, when: impl Fn(&Binding) -> bool) {
        let holds = |inner: &Inner| {
            let binding = inner.binding.as_ref();
            binding.is_some_and(|binding| binding.buffers().firmware_in_use() && when(binding))
        };
        self.call(holds, |inner| inner.begin_call(Ops::release));
    }

    /// Unbinds the driver if it still holds buffers. True: it was.
    fn unbind_holder(&self) -> bool {
        if self.buffer_count() == 0 {
            return false;
        }
        dev_info!(
            self.dev,
            "protheap: unbinding the driver to release protected buffers\n"
        );
        release_driver(&self.dev);
        let left = self.buffer_count();
        if left > 0 {
            dev_warn!(
                self.dev,
                "protheap: failed to release {left} protected buffers: open files hold them\n"
            );
        }
        true
    }

    fn buffer_count(&self) -> usize {
        let inner = self.inner.lock();
        inner
            .binding
            .as_ref()
            .map_or(0, |binding| binding.buffers().count())
    }

    /// Ends [`Gpu::evacuate`] some time after: nothing became of the image, this kernel was restored
    /// from it, or OP-TEE's driver is unbound.
    pub(crate) fn repopulate(&self) {
        self.settle.queue(0);
    }

    /// Allocates what a parked binding had, and ends its parking.
    pub(super) fn refill(&self) {
        let (refill, generation) = {
            let inner = self.inner.lock();
            // Set before any GPU is evacuated: as long as it is, another image may follow.
            if machine::check().is_err() {
                return;
            }
            match &inner.binding {
                Some(binding) if binding.is_parked() => {
                    (binding.refill_request(), inner.generation)
                }
                _ => return,
            }
        };
        let emptied = refill.is_some();
        let refill = match refill {
            Some(Ok(request)) => Some(request.allocate()),
            Some(Err(err)) => Some((Allocated::default(), Err(err))),
            None => None,
        };
        let mut inner = self.inner.lock();
        let Ok(binding) = inner.generation(generation) else {
            return;
        };
        if machine::check().is_err() {
            return;
        }
        let result = binding
            .unpark(refill)
            .inspect_err(|err| binding.statistics.refuse(*err));
        let heap = BStr::from_bytes(&binding.options.heap);
        match result {
            _ if !emptied => (),
            _ if binding.is_bound() => {
                dev_info!(self.dev, "protheap: bound to {heap} again\n");
            }
            Err(ENODATA) => dev_warn!(
                self.dev,
                "protheap: binding to {heap} has released its buffers, and user space allocates new ones; run `protheapctl rebind`\n"
            ),
            Err(err) => dev_warn!(
                self.dev,
                "protheap: failed to allocate released buffers from {} again: {} ({}); run `protheapctl rebind`\n",
                heap,
                statistics::word(err),
                err.to_errno(),
            ),
            Ok(()) => (),
        }
        // What is lacking, or what the driver released meanwhile.
        self.supply.queue(0);
        self.wake(&inner);
        self.publish(inner);
    }

    /// Calls the function of the attached driver that `begin` returns, with the device's lock held,
    /// if `when` says so.
    pub(super) fn call(
        &self,
        when: impl Fn(&Inner) -> bool,
        begin: impl FnOnce(&mut Inner) -> Option<Callback>,
    ) {
        if !when(&self.inner.lock()) {
            return;
        }
        let lock = DeviceLock::new(&self.dev);
        let mut inner = self.inner.lock();
        if when(&inner) {
            if let Some(function) = begin(&mut inner) {
                drop(inner);
                // SAFETY: The driver is attached, and `detach()` waits for this to return: its ops
                // and its code stay.
                unsafe { function.call(&self.dev) };
                inner = self.inner.lock();
                if let Some(consumer) = &mut inner.consumer {
                    consumer.called = false;
                }
                self.wake(&inner);
            }
        }
        drop(inner);
        drop(lock);
    }
}
