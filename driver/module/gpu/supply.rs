// SPDX-License-Identifier: GPL-2.0

//! Allocation of buffers that a binding lacks.

use super::{
    Binding,
    Gpu, //
};
use crate::abstractions::compat::ENODATA;
use crate::{
    binding::Allocated,
    machine,
    statistics, //
};
use kernel::{
    prelude::*,
    str::BStr, //
};

impl Gpu {
    /// Allocates one suspend buffer. Returns whether to try again: not if there are enough, or if
    /// another allocation would fail as well.
    pub(super) fn supply(&self) -> bool {
        let (request, generation) = {
            let inner = self.inner.lock();
            let request = inner.binding.as_ref().and_then(Binding::suspend_request);
            match request {
                Some(request) => (request, inner.generation),
                None => return false,
            }
        };
        let (allocated, result) = request.allocate();
        let mut inner = self.inner.lock();
        let Ok(binding) = inner.generation(generation) else {
            // There may be another binding now.
            return true;
        };
        let result = binding.supply(allocated).and(result);
        if let Err(err) = result {
            binding.statistics.refuse(err);
            if binding.statistics.supply.is_first(err) {
                dev_warn!(
                    self.dev,
                    "protheap: failed to allocate a {}-byte suspend buffer from {}: {} ({}); check the heap, and `suspend` in the policy\n",
                    request.suspend_bytes(),
                    BStr::from_bytes(&binding.options.heap),
                    statistics::word(err),
                    err.to_errno(),
                );
            }
        }
        self.wake(&inner);
        self.publish(inner);
        result.is_ok()
    }

    /// Allocates the buffers that a parked binding had, and ends its parking.
    pub(super) fn refill(&self) {
        let (request, generation) = {
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
        let was_emptied = request.is_some();
        let refill = request.map(|request| match request {
            Ok(request) => request.allocate(),
            Err(err) => (Allocated::default(), Err(err)),
        });
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
            _ if !was_emptied => (),
            _ if binding.is_bound() => {
                dev_info!(self.dev, "protheap: bound to {heap} again\n");
            }
            Err(ENODATA) => dev_warn!(
                self.dev,
                "protheap: failed to restore the binding to {heap}: user space allocates its buffers; run `protheapctl rebind`\n"
            ),
            Err(err) => dev_warn!(
                self.dev,
                "protheap: failed to restore the binding to {}: {} ({}); run `protheapctl rebind`\n",
                heap,
                statistics::word(err),
                err.to_errno(),
            ),
            Ok(()) => (),
        }
        // Buffers that are lacking, or that the driver released meanwhile.
        self.supply.queue(0);
        self.wake(&inner);
        self.publish(inner);
    }
}
