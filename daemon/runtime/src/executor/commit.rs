// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commits bindings, reads them back, and hands over suspend buffers.

use protheap_board::heaps::{AllocateError, Heap};
use protheap_board::module::{self, BindingState, Commit, Kind, Setup};
use protheap_board::panthor;
use protheap_board::root::Root;
use protheap_core::engine::{Bound, Event, Machine, Monotonic, Supplied};
use protheap_core::facts::{Delivery, KernelBinding, Shortage, Verdict};
use protheap_core::request::Request;
use protheap_policy::name::{DeviceName, HeapName};

use super::allocate::Buffers;
use super::{Executor, now};
use crate::Result;
use crate::kernel::{Binding, Kernel};

impl<M: Machine, K: Kernel> Executor<M, K> {
    /// Hands over the allocated buffers, and commits. Returns the time of the commit.
    pub(super) fn hand_over(
        &mut self,
        device: &DeviceName,
        request: &Request,
    ) -> Result<(Monotonic, Bound)> {
        let buffers = self.take_buffers(device);
        let binding = self.set_up(device, request)?;
        if let Some(Buffers { firmware, suspend }) = buffers {
            let module = self.module()?;
            module.hand_over(device, Kind::Firmware, &firmware)?;
            for buffer in &suspend {
                module.hand_over(device, Kind::Suspend, buffer)?;
            }
        }
        commit(&binding)
    }

    /// Has the kernel allocate the buffers, and commits. Returns the result and its time.
    pub(super) fn commit(&mut self, device: DeviceName, request: Request) -> (Monotonic, Event) {
        let error = match self.commit_in_kernel(&device, &request) {
            Ok((at, bound)) => return (at, Event::Bound(device, Ok(bound))),
            Err(error) => error,
        };
        let verdict = error.downcast_ref().and_then(module::Error::verdict);
        let verdict = verdict.map(|verdict| self.too_small(&request, verdict));
        match &verdict {
            Some(Verdict::TooSmall(why)) => {
                self.log.gpu(&device, format_args!("{}: {why}", request.heap));
            }
            _ => self.log.gpu(&device, format_args!("{}: {error}", request.heap)),
        }
        let event = match verdict {
            Some(verdict) => Event::Allocated(device, request.heap, verdict),
            None => Event::Bound(device, Err(error.to_string())),
        };
        (now(), event)
    }

    fn commit_in_kernel(
        &mut self,
        device: &DeviceName,
        request: &Request,
    ) -> Result<(Monotonic, Bound)> {
        let binding = self.set_up(device, request)?;
        let (at, bound) = commit(&binding)?;
        let (protection, exporter) = binding.judge(request.allow_unprotected)?;
        let shortage = kernel_shortage(&self.root, &binding, request)?;
        if let Some(shortage) = &shortage {
            self.log.gpu(device, format_args!("allocated {shortage}"));
        }
        let judged = Some(Verdict::Allocated { protection, exporter, shortage });
        Ok((at, Bound { judged, ..bound }))
    }

    /// Sets the GPU driver's parameter to the heap. Returns the time of the write.
    pub(super) fn name_heap(
        &self,
        device: &DeviceName,
        request: &Request,
    ) -> Result<(Monotonic, Bound)> {
        self.warn_unprotected(device, request);
        panthor::name_heap(&self.root, &request.heap)?;
        Ok((now(), Bound { in_use: false, judged: None }))
    }

    /// Writes the attributes of an open binding.
    fn set_up(&mut self, device: &DeviceName, request: &Request) -> Result<K::Binding> {
        self.warn_unprotected(device, request);
        let binding = self.module()?.binding(device)?.ok_or("the binding was withdrawn")?;
        binding.set_up(&Setup {
            heap: &request.heap,
            firmware_bytes_wanted: request.firmware_bytes,
            suspend_bytes: request.suspend_bytes,
            suspend_count: request.suspend_count,
            allow_unprotected: request.allow_unprotected,
            origin: &request.origin,
        })?;
        Ok(binding)
    }

    fn warn_unprotected(&self, device: &DeviceName, request: &Request) {
        if request.allow_unprotected {
            let Request { heap, origin, .. } = request;
            let text = format_args!(
                "binding {heap} even if it is not protected: {origin} sets allow-unprotected"
            );
            self.log.gpu(device, text);
        }
    }

    /// Returns the kernel's binding, whichever program made it.
    pub(super) fn bound(&mut self, device: &DeviceName) -> Result<Option<KernelBinding>> {
        match self.delivery(device) {
            Delivery::Ioctl => return self.bound_by_ioctl(device),
            Delivery::Module => {}
            Delivery::PanthorParameter | Delivery::None => return Ok(None),
        }
        let Some(binding) = self.module_to_read()?.binding(device)? else { return Ok(None) };
        match binding.bound() {
            // The binding was withdrawn in the meantime.
            Err(error) if error.is_absent() => Ok(None),
            bound => Ok(bound?),
        }
    }

    pub(super) fn read(&mut self, device: DeviceName) -> Event {
        let bound = self.bound(&device).map_err(|error| error.to_string());
        Event::Read(device, bound)
    }

    /// Hands over as many suspend buffers as the kernel requests.
    pub(super) fn supply(&mut self, device: &DeviceName, heap: &HeapName) -> Result<Supplied> {
        let no_memory = |error: AllocateError| Ok(Supplied::NoMemory(error.to_string()));
        // Acquiring the lock can take time. The request is read afterwards.
        self.module()?;
        let Some(wants) = self.bound(device)? else { return Ok(Supplied::All) };
        let heap = match K::heap(&self.root, heap) {
            Ok(heap) => heap,
            Err(error) => return no_memory(error),
        };
        for _ in 0..wants.suspend_wanted {
            match K::allocate(&heap, wants.suspend_bytes) {
                Ok(buffer) => self.module()?.hand_over(device, Kind::Suspend, &buffer)?,
                Err(error) => return no_memory(error),
            }
        }
        Ok(Supplied::All)
    }
}

/// Commits a binding. Returns the time of the commit.
fn commit(binding: &impl Binding) -> Result<(Monotonic, Bound)> {
    // Taken before the write, because the GPU may probe before the write returns.
    let at = now();
    binding.commit(Commit::Bind)?;
    let in_use = binding.state()? == BindingState::InUse;
    Ok((at, Bound { in_use, judged: None }))
}

/// Returns the event of a binding that was committed, or could not be.
pub(super) fn bound_event(
    device: DeviceName,
    bound: Result<(Monotonic, Bound)>,
) -> (Monotonic, Event) {
    match bound {
        Ok((at, bound)) => (at, Event::Bound(device, Ok(bound))),
        Err(error) => (now(), Event::Bound(device, Err(error.to_string()))),
    }
}

/// Returns the number of suspend buffers that the kernel could not allocate when it committed
/// `request`. Returns `None` if it allocated all, or if the GPU driver has changed their size since
/// then, in which case their number is not comparable.
fn kernel_shortage(
    root: &Root,
    binding: &impl Binding,
    request: &Request,
) -> Result<Option<Shortage>> {
    let allocated = binding.suspend_buffers()?;
    let wanted = request.suspend_count;
    if allocated >= wanted || binding.suspend_bytes()? != request.suspend_bytes {
        return Ok(None);
    }
    let why = Heap::exhausted(root, &request.heap, request.suspend_bytes).to_string();
    Ok(Some(Shortage { allocated, wanted, why }))
}
