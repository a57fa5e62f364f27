// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sets the firmware buffer in a running GPU driver by ioctl, and takes it back.
//!
//! The driver does not know from which heap its buffer is. The executor remembers that, and the state
//! file keeps it for the next run.

use std::collections::BTreeMap;

use protheap_core::engine::{Bound, Event, Machine, Monotonic, Opened};
use protheap_core::facts::{Delivery, KernelBinding, Protection, Source};
use protheap_core::request::Request;
use protheap_core::state_file::{GpuState, StateFile};
use protheap_policy::name::{DeviceName, HeapName};

use super::{Executor, now};
use crate::Result;
use crate::kernel::{Kernel, Node as _};

/// The origin of a buffer that a GPU driver has.
#[derive(Debug, Clone)]
pub(super) struct Lent {
    heap: HeapName,
    protection: Protection,
    exporter: String,
}

impl Lent {
    /// Makes the buffer one of a TEE.
    #[cfg(test)]
    pub(super) fn of_tee(&mut self) {
        self.exporter = protheap_core::facts::TEE_EXPORTER.to_owned();
    }

    fn restored(gpu: &GpuState) -> Option<Self> {
        if gpu.delivery != Some(Delivery::Ioctl) || !gpu.state.is_bound() {
            return None;
        }
        let (heap, exporter) = (gpu.heap.clone()?, gpu.exporter.clone()?);
        Some(Self { heap, protection: gpu.protection?, exporter })
    }
}

/// Returns the origins of the buffers that an earlier run of this boot set.
pub(super) fn restored(file: &StateFile) -> BTreeMap<DeviceName, Lent> {
    let lent = |gpu: &GpuState| Some((gpu.device.clone(), Lent::restored(gpu)?));
    file.gpus.iter().filter_map(lent).collect()
}

impl<M: Machine, K: Kernel> Executor<M, K> {
    /// Returns the delivery to the driver of `device`.
    pub(super) fn delivery(&self, device: &DeviceName) -> Delivery {
        let facts = self.engine.facts();
        facts.gpus.get(device).map_or(Delivery::None, |gpu| facts.kernel.delivery(gpu))
    }

    /// Prepares to set a buffer. Takes a buffer from an unknown heap back first, because nothing
    /// shows whether its TEE is still there.
    pub(super) fn open_ioctl(&mut self, device: &DeviceName) -> Result<Opened> {
        self.acquire_lock();
        let node = K::node(&self.root, device)?.ok_or("the GPU driver has been unbound")?;
        if node.query()?.has_buffer {
            if let Some(lent) = self.lent.get(device) {
                return Ok(Opened::Adopted(lent.heap.clone(), true));
            }
            match node.take_firmware_back() {
                Err(error) if M::KEEPS && error.is_busy() => {
                    return Ok(Opened::Busy(error.to_string()));
                }
                taken => taken?,
            }
        }
        // protheap.ko may have buffers for a driver that does not request them.
        if self.engine.facts().kernel.module.is_some()
            && let Ok(module) = self.module()
            && module.binding(device)?.is_some()
        {
            module.remove(device)?;
        }
        Ok(Opened::AlreadyProbed)
    }

    /// Sets the allocated firmware buffer. Returns the time of the ioctl.
    pub(super) fn set_firmware(
        &mut self,
        device: &DeviceName,
        request: &Request,
    ) -> Result<(Monotonic, Bound)> {
        let buffers = self.take_buffers(device).ok_or("no buffer was allocated")?;
        let (protection, exporter) = K::judge(&buffers.firmware);
        let node = K::node(&self.root, device)?.ok_or("the GPU driver has been unbound")?;
        let at = now();
        node.set_firmware(&buffers.firmware)?;
        let heap = request.heap.clone();
        self.lent.insert(device.clone(), Lent { heap, protection, exporter });
        Ok((at, Bound { in_use: true, judged: None }))
    }

    /// Takes the buffer of `device` back. Returns `None` if that is not the delivery of the binding.
    pub(super) fn withdraw_ioctl(&mut self, device: &DeviceName) -> Option<(Monotonic, Event)> {
        // The heap is not of interest any more, even if the driver keeps the buffer for now.
        let was_lent = self.lent.remove(device).is_some();
        if !was_lent && self.delivery(device) != Delivery::Ioctl {
            return None;
        }
        self.acquire_lock();
        let taken = K::node(&self.root, device).and_then(|node| match node {
            Some(node) if node.query()?.has_buffer => node.take_firmware_back(),
            _ => Ok(()),
        });
        let outcome = match taken {
            Err(error) if error.is_busy() => Err(error.to_string()),
            Err(error) if error.is_absent() => Ok(()),
            taken => {
                self.warn(device, "failed to withdraw the binding", taken.map_err(Into::into));
                Ok(())
            }
        };
        Some((now(), Event::Withdrawn(device.clone(), outcome)))
    }

    /// Reads the binding of `device`. A buffer of an unknown heap is none.
    pub(super) fn bound_by_ioctl(&mut self, device: &DeviceName) -> Result<Option<KernelBinding>> {
        let query = match K::node(&self.root, device)? {
            Some(node) => node.query()?,
            None => return Ok(None),
        };
        let (true, Some(section)) = (query.has_buffer, query.section) else {
            self.lent.remove(device);
            return Ok(None);
        };
        let Some(lent) = self.lent.get(device) else { return Ok(None) };
        Ok(Some(KernelBinding {
            heap: lent.heap.clone(),
            source: Source::Ioctl,
            exporter: lent.exporter.clone(),
            protection: lent.protection,
            in_use: true,
            firmware_bytes: section.firmware_bytes,
            suspend_bytes: section.suspend_bytes,
            suspend_count: 0,
            suspend_buffers: 0,
            suspend_in_use: 0,
            suspend_wanted: 0,
        }))
    }
}
