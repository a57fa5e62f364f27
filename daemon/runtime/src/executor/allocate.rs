// SPDX-License-Identifier: MIT OR Apache-2.0

//! Allocates the buffers of a GPU, and classifies their protection.

use protheap_board::cma;
use protheap_board::heaps::AllocateError;
use protheap_core::engine::Machine;
use protheap_core::facts::{Protection, Shortage, Verdict};
use protheap_core::request::Request;
use protheap_policy::name::DeviceName;

use super::Executor;
use crate::kernel::Kernel;

/// Buffers of one GPU that have not been handed over yet.
#[derive(Debug)]
pub(super) struct Buffers<B> {
    pub(super) firmware: B,
    pub(super) suspend: Vec<B>,
}

impl<M: Machine, K: Kernel> Executor<M, K> {
    /// Allocates the firmware buffer, then suspend buffers until the requested number is reached or
    /// the heap has no more memory. The firmware buffer determines the protection. Returns no
    /// buffers if they cannot be used.
    pub(super) fn allocate(
        &self,
        device: &DeviceName,
        request: &Request,
    ) -> (Verdict, Option<Buffers<K::Buffer>>) {
        let log = self.log;
        let logged = |error: AllocateError| {
            log.gpu(device, format_args!("{error}"));
            error.verdict()
        };
        let heap = match K::heap(&self.root, &request.heap) {
            Ok(heap) => heap,
            Err(error) => return (logged(error), None),
        };
        let firmware = match K::allocate(&heap, request.firmware_bytes) {
            Ok(buffer) => buffer,
            Err(error) => return (self.too_small(request, logged(error)), None),
        };
        let (protection, exporter) = K::judge(&firmware);
        let mut shortage = None;
        let mut buffers = None;
        if protection != Protection::None || request.allow_unprotected {
            let mut suspend = Vec::new();
            for allocated in 0..request.suspend_count {
                match K::allocate(&heap, request.suspend_bytes) {
                    Ok(buffer) => suspend.push(buffer),
                    Err(error @ AllocateError::TooSmall { .. }) if allocated > 0 => {
                        let (wanted, why) = (request.suspend_count, error.to_string());
                        shortage = Some(Shortage { allocated, wanted, why });
                        break;
                    }
                    Err(error) => return (logged(error), None),
                }
            }
            if let Some(shortage) = &shortage {
                log.gpu(device, format_args!("allocated {shortage}"));
            }
            buffers = Some(Buffers { firmware, suspend });
        }
        (Verdict::Allocated { protection, exporter, shortage }, buffers)
    }

    /// Adds an explanation by CMA to the verdict on a heap without memory for the first buffers.
    pub(super) fn too_small(&self, request: &Request, verdict: Verdict) -> Verdict {
        let bytes = request.suspend_bytes.saturating_mul(u64::from(request.suspend_count.min(1)));
        let bytes = request.firmware_bytes.saturating_add(bytes);
        let explain = || cma::read(&self.root)?.explain(&request.heap, bytes);
        match verdict {
            Verdict::TooSmall(why) => Verdict::TooSmall(match explain() {
                Some(cma) => format!("{why}; {cma}"),
                None => why,
            }),
            verdict => verdict,
        }
    }

    pub(super) fn take_buffers(&mut self, device: &DeviceName) -> Option<Buffers<K::Buffer>> {
        let at = self.buffers.iter().position(|(of, _)| of == device)?;
        Some(self.buffers.swap_remove(at).1)
    }
}
