// SPDX-License-Identifier: MIT OR Apache-2.0

//! Allocates the buffers of a GPU, and classifies their protection.

use protheap_board::cma;
use protheap_board::heaps::{AllocateError, Buffer, Heap};
use protheap_core::facts::{Protection, Shortage, Source, Verdict};
use protheap_core::request::Request;
use protheap_policy::name::DeviceName;

use super::Executor;

/// Buffers of one GPU that have not been handed over yet.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) firmware: Buffer,
    pub(super) suspend: Vec<Buffer>,
}

impl<const DAEMON: bool> Executor<DAEMON> {
    /// Allocates the firmware buffer, then suspend buffers until the requested number is reached or
    /// the heap has no more memory. The firmware buffer determines the protection.
    pub(super) fn allocate(&mut self, device: &DeviceName, request: &Request) -> Verdict {
        let log = self.log;
        let logged = |error: AllocateError| {
            log.gpu(device, format_args!("{error}"));
            error.verdict()
        };
        let heap = match Heap::open(&self.root, &request.heap) {
            Ok(heap) => heap,
            Err(error) => return logged(error),
        };
        let firmware = match heap.allocate(request.firmware_bytes) {
            Ok(buffer) => buffer,
            Err(error) => return self.too_small(request, logged(error)),
        };
        let (protection, exporter) = firmware.judge();
        let mut shortage = None;
        if protection != Protection::None || request.allow_unprotected {
            let mut suspend = Vec::new();
            for allocated in 0..request.suspend_count {
                match heap.allocate(request.suspend_bytes) {
                    Ok(buffer) => suspend.push(buffer),
                    Err(error @ AllocateError::TooSmall { .. }) if allocated > 0 => {
                        let (wanted, why) = (request.suspend_count, error.to_string());
                        shortage = Some(Shortage { allocated, wanted, why });
                        break;
                    }
                    Err(error) => return logged(error),
                }
            }
            if let Some(shortage) = &shortage {
                log.gpu(device, format_args!("allocated {shortage}"));
            }
            // The driver allocates its own buffers.
            if request.source != Source::Driver {
                self.buffers.push((device.clone(), Buffers { firmware, suspend }));
            }
        }
        Verdict::Allocated { protection, exporter, shortage }
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

    pub(super) fn take_buffers(&mut self, device: &DeviceName) -> Option<Buffers> {
        let at = self.buffers.iter().position(|(of, _)| of == device)?;
        Some(self.buffers.swap_remove(at).1)
    }
}
