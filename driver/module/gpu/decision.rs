// SPDX-License-Identifier: GPL-2.0

//! Operations of user space: opens a binding, hands over buffers, commits, and withdraws it.

use super::{
    Binding,
    Gpu,
    Inner, //
};
use crate::{
    abstractions::dma_buf::DmaBuf,
    binding::{
        Decision,
        Kind, //
    },
    machine, //
};
use core::ptr::NonNull;
use kernel::{
    fmt,
    prelude::*,
    str::BStr,
    sync::{
        Arc,
        MutexGuard, //
    }, //
};

impl Gpu {
    /// Opens a binding; see [`crate::registry::open`].
    pub(crate) fn open(this: &Arc<Self>) -> Result {
        // Valid for `ArcBorrow::from_raw()` as well.
        let owner = NonNull::new(Arc::as_ptr(this).cast_mut()).ok_or(EINVAL)?;
        let mut inner = this.inner.lock();
        machine::check()?;
        if inner.is_removed {
            return Err(ENODEV);
        }
        if inner.binding.is_some() {
            return Err(EBUSY);
        }
        inner.binding = Some(Binding::new(owner));
        inner.generation = inner.generation.wrapping_add(1);
        this.publish(inner);
        Ok(())
    }

    /// Withdraws the binding. Buffers that the driver holds stay until it releases them.
    pub(crate) fn withdraw(&self) {
        self.take_back();
        // The driver may wait for the commit.
        self.queue_update();
    }

    /// Withdraws the binding, and leaves a deferred driver deferred.
    pub(super) fn take_back(&self) {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            binding.withdraw();
            if binding.is_in_use() {
                dev_info!(
                    self.dev,
                    "protheap: binding withdrawn, {} protected buffers are still in use\n",
                    binding.buffers().count()
                );
            }
        }
        self.wake(&inner);
        self.publish(inner);
    }

    /// Adds a buffer that user space hands over; see [`crate::registry::hand_over`].
    pub(crate) fn hand_over(&self, kind: Kind, buffer: DmaBuf) -> Result {
        let mut inner = self.inner.lock();
        let binding = inner.binding.as_mut().ok_or(ENODEV)?;
        binding
            .hand_over(kind, buffer)
            .inspect_err(|err| binding.statistics.refuse(*err))?;
        self.wake(&inner);
        self.publish(inner);
        Ok(())
    }

    /// Commits; see [`Binding::prepare`], [`Binding::bind`], [`Binding::reject`] and
    /// [`Binding::bind_on_demand`].
    pub(crate) fn commit(&self, decision: Decision) -> Result {
        let inner = match decision {
            Decision::Bind => self.bind()?,
            Decision::None => self.reject()?,
            Decision::Demand => self.bind_on_demand()?,
        };
        self.wake(&inner);
        self.update.queue(0);
        self.publish(inner);
        if decision == Decision::Demand {
            self.call_release(Binding::awaits_demand);
        }
        Ok(())
    }

    fn bind(&self) -> Result<MutexGuard<'_, Inner>> {
        let (request, generation) = {
            let mut inner = self.inner.lock();
            let request = inner.binding.as_mut().ok_or(ENODEV)?.prepare()?;
            (request, inner.generation)
        };
        let (allocated, result) = request.allocate();
        let mut inner = self.inner.lock();
        let binding = inner.generation(generation)?;
        binding
            .bind(allocated, result)
            .inspect_err(|err| binding.statistics.refuse(*err))?;
        let options = &binding.options;
        dev_info!(
            self.dev,
            "protheap: bound to {}{}\n",
            BStr::from_bytes(&options.heap),
            Origin(&options.origin),
        );
        if binding.suspend_lacking() > 0 {
            dev_info!(
                self.dev,
                "protheap: got {} of {} suspend buffers of {} bytes\n",
                binding.suspend().len(),
                options.suspend_count,
                binding.suspend_bytes(),
            );
        }
        if binding.buffers().is_mappable() {
            dev_warn!(
                self.dev,
                "protheap: buffers are NOT protected, the CPU can map them; remove `allow-unprotected` from the policy\n"
            );
        }
        Ok(inner)
    }

    fn reject(&self) -> Result<MutexGuard<'_, Inner>> {
        let has_driver = self.has_driver();
        let mut inner = self.inner.lock();
        let driver = inner.driver(has_driver);
        let binding = inner.binding.as_mut().ok_or(ENODEV)?;
        binding.reject(driver)?;
        dev_info!(
            self.dev,
            "protheap: no protected memory{}\n",
            Origin(&binding.options.origin),
        );
        Ok(inner)
    }

    fn bind_on_demand(&self) -> Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner.lock();
        inner.binding.as_mut().ok_or(ENODEV)?.bind_on_demand()?;
        dev_info!(self.dev, "protheap: to be bound on demand\n");
        Ok(inner)
    }
}

/// Displays the policy that selected the heap, for the end of a log line. Empty if it is unknown.
struct Origin<'a>(&'a [u8]);

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            origin => f.write_fmt(fmt!(" by policy {}", BStr::from_bytes(origin))),
        }
    }
}
