// SPDX-License-Identifier: GPL-2.0

//! Evacuation: a GPU's buffers return to their heap before the memory has another owner. The machine
//! shuts down, another kernel is started, or an image of the kernel is taken or restored
//! (hibernation); or the TEE's driver is unbound, which waits for the buffers.
//!
//! The secure world keeps its own account of protected memory. A kernel that was started or restored
//! meanwhile knows nothing of that account: it may use memory that the firewall still denies to it,
//! or consider memory protected that nothing protects any more.

use super::{
    Gpu,
    Inner, //
};
use crate::abstractions::{
    device::{
        release_driver,
        DriverName, //
    },
    notifier::Cause, //
};
use kernel::{
    prelude::*,
    sync::MutexGuard, //
};

impl Gpu {
    /// Returns all buffers to their heap, and has the driver release those that it holds.
    ///
    /// `EBUSY` if the driver still holds some and must not be unbound for that, because an image is
    /// to be taken: its user would find a dead GPU in it.
    pub(crate) fn evacuate(&self, cause: Cause) -> Result {
        // In a kernel thread: in a task that does not return to user space, a file is never closed.
        // Not on the freezable queue: a machine that hibernates is shut down while that is frozen.
        let evacuated = if cause == Cause::TeeLeaves {
            self.tee_release.run();
            Ok(())
        } else {
            self.inner.lock().evacuation = cause;
            self.evacuation.run();
            self.inner.lock().evacuated
        };
        // A running allocation has ended then, and its buffers were not added.
        self.supply.cancel();
        evacuated
    }

    /// Ends [`Gpu::evacuate`] some time after: the kernel runs on or was restored from the image, or
    /// OP-TEE's driver is unbound.
    pub(crate) fn repopulate(&self) {
        self.queue_update();
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
                    self.inner.lock().is_deferred = true;
                }
                Ok(())
            }
            // See `release_to_tee`.
            Cause::TeeLeaves => Ok(()),
        };
        self.inner.lock().evacuated = evacuated;
    }

    /// The task of [`Gpu::tee_release`].
    pub(super) fn release_to_tee(&self) {
        if self.is_bound_to_tee() {
            dev_info!(
                self.dev,
                "protheap: releasing protected buffers before OP-TEE's driver is unbound\n"
            );
            // No event: user space must notice first that the TEE is gone, which is why there are no
            // buffers.
            drop(self.release_unused());
        }
    }

    /// Returns whether the binding has buffers of the kernel's TEE heap driver, of any TEE.
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
        self.call_release(|_| true);
    }

    /// Unbinds the driver if it still holds buffers. Returns whether it did.
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
        let binding = inner.binding.as_ref();
        binding.map_or(0, |binding| binding.buffers().count())
    }
}
