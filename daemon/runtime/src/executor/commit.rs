// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commits bindings, reads them back, and hands over suspend buffers.

use protheap_board::heaps::{AllocateError, Heap};
use protheap_board::module::{self, BindingState, Commit, Kind, Setup};
use protheap_board::panthor;
use protheap_board::root::Root;
use protheap_core::engine::{Bound, Event, Monotonic, Supplied};
use protheap_core::facts::{KernelBinding, Shortage, Source, Verdict};
use protheap_core::request::Request;
use protheap_policy::name::{DeviceName, HeapName};

use super::allocate::Buffers;
use super::{Executor, now};
use crate::Result;

impl<const DAEMON: bool> Executor<DAEMON> {
    /// Hands over the buffers, unless the kernel allocates, and commits. Returns the time of the
    /// commit.
    pub(super) fn bind(
        &mut self,
        device: &DeviceName,
        request: &Request,
    ) -> Result<(Monotonic, Bound)> {
        if request.allow_unprotected {
            let Request { heap, origin, .. } = request;
            let text = format_args!("binding {heap} for bring-up: {origin} has allow-unprotected");
            self.log.gpu(device, text);
        }
        if request.source == Source::Driver {
            panthor::name_heap(&self.root, &request.heap)?;
            return Ok((now(), Bound { in_use: false, judged: None }));
        }
        let buffers = self.take_buffers(device);
        let module = self.module()?;
        let binding = module.binding(device)?.ok_or("the binding was withdrawn")?;
        binding.set_up(&Setup {
            heap: &request.heap,
            firmware_bytes_wanted: request.firmware_bytes,
            suspend_bytes: request.suspend_bytes,
            suspend_count: request.suspend_count,
            allow_unprotected: request.allow_unprotected,
            origin: &request.origin,
        })?;
        if let Some(Buffers { firmware, suspend }) = buffers {
            module.hand_over(device, Kind::Firmware, &firmware)?;
            for buffer in &suspend {
                module.hand_over(device, Kind::Suspend, buffer)?;
            }
        }
        // Taken before the write, because the GPU may probe before the write returns.
        let at = now();
        binding.commit(Commit::Bind)?;
        let in_use = binding.state()? == BindingState::InUse;
        let judged = match request.source {
            Source::Handed | Source::Driver => None,
            Source::Kernel => {
                let (protection, exporter) = binding.judge(request.allow_unprotected)?;
                let shortage = kernel_shortage(&self.root, &binding, request)?;
                if let Some(shortage) = &shortage {
                    self.log.gpu(device, format_args!("allocated {shortage}"));
                }
                Some(Verdict::Allocated { protection, exporter, shortage })
            }
        };
        Ok((at, Bound { in_use, judged }))
    }

    /// Returns the kernel's binding, whichever program made it.
    pub(super) fn bound(&mut self, device: &DeviceName) -> Result<Option<KernelBinding>> {
        if self.engine.facts().kernel.module.is_none() {
            return Ok(None);
        }
        let Some(binding) = self.module_to_read()?.binding(device)? else { return Ok(None) };
        match binding.bound() {
            // The binding was withdrawn in the meantime.
            Err(error) if error.is_absent() => Ok(None),
            bound => Ok(bound?),
        }
    }

    pub(super) fn look(&mut self, device: DeviceName) -> Event {
        let bound = self.bound(&device).map_err(|error| error.to_string());
        Event::Looked(device, bound)
    }

    /// Hands over as many suspend buffers as the kernel requests.
    pub(super) fn supply(&mut self, device: &DeviceName, heap: &HeapName) -> Result<Supplied> {
        let no_memory = |error: AllocateError| Ok(Supplied::NoMemory(error.to_string()));
        // Acquiring the lock can take time. The request is read afterwards.
        self.module()?;
        let Some(wants) = self.bound(device)? else { return Ok(Supplied::All) };
        let heap = match Heap::open(&self.root, heap) {
            Ok(heap) => heap,
            Err(error) => return no_memory(error),
        };
        for _ in 0..wants.suspend_wanted {
            match heap.allocate(wants.suspend_bytes) {
                Ok(buffer) => self.module()?.hand_over(device, Kind::Suspend, &buffer)?,
                Err(error) => return no_memory(error),
            }
        }
        Ok(Supplied::All)
    }
}

/// Returns the number of suspend buffers that the kernel could not allocate when it committed
/// `request`. Returns `None` if it allocated all, or if the GPU driver has changed their size since
/// then, in which case their number is not comparable.
fn kernel_shortage(
    root: &Root,
    binding: &module::Binding,
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
