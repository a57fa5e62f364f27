// SPDX-License-Identifier: GPL-2.0

//! Binds Mali CSF GPUs to the protected dma-buf heap of their board before the GPU's driver probes.
//!
//! User space commits bindings ([`configfs`]) and can hand over buffers ([`misc`]). The driver of the
//! GPU waits for the commit, for a limited time, and takes the buffers ([`consumer`]). A [`gpu`] is
//! shared by both sides; the [`registry`] has all of them. A GPU has a [`binding`], and a binding has
//! buffers.

mod abstractions;
mod binding;
mod buffer;
mod configfs;
mod consumer;
mod evacuation;
mod event;
mod gpu;
mod machine;
mod misc;
mod pool;
mod registry;
mod source;
mod statistics;

use abstractions::notifier;
use kernel::{
    miscdevice::MiscDeviceRegistration,
    prelude::*, //
};

module! {
    type: Module,
    name: "protheap",
    authors: ["The Protheap developers"],
    description: "Protected heaps for Mali CSF GPUs",
    license: "GPL",
    imports_ns: ["DMA_BUF", "DMA_BUF_HEAP"],
    params: {
        hold: u32 {
            default: 10_000,
            description: "Maximum time in ms for which a GPU is held; 0: never (for rescue)",
        },
        allocate: u8 {
            default: 1,
            description: "0: the kernel allocates no buffer, user space hands them over",
        },
    },
}

/// The module. Dropped in this order: the interface to user space first, the device that sends
/// events last.
#[pin_data]
struct Module {
    #[pin]
    config: kernel::configfs::Subsystem<configfs::Root>,
    watch: notifier::Watch,
    registration: registry::Registration,
    #[pin]
    misc: MiscDeviceRegistration<misc::Misc>,
}

impl kernel::InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // First: `/dev/protheap` can be opened from here on, and the probe of a built-in driver is
            // no longer deferred, even if what follows fails.
            // SAFETY: The module is initialised once, and nothing of it can be used before.
            registration: unsafe { registry::Registration::new() },
            misc <- misc::Misc::register(),
            _: { registration.announce_by(misc.device()) },
            watch: notifier::Watch::new()?,
            config <- configfs::Root::register(),
            // A hint, as all events: it may be lost.
            _: { let _ = event::send_ready(); },
        })
    }
}
