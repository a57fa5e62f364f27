// SPDX-License-Identifier: GPL-2.0

//! Binds Mali CSF GPUs to the protected dma-buf heap of the board that they run on, before their
//! driver probes.
//!
//! User space decides ([`configfs`]) and hands the buffers over ([`misc`]); the driver of the GPU
//! waits for the decision, for a bounded time, and takes the buffers ([`consumer`]). [`gpu`] is
//! what both sides share, [`registry`] knows all of them.

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
            description: "Longest window in which a GPU is held, in ms; 0: none (for rescue)",
        },
        allocate: u8 {
            default: 1,
            description: "0: no buffer is allocated by the kernel, user space hands them over",
        },
    },
}

/// The module. Dropped in this order: first nothing new can come, last the device goes that tells
/// of changes.
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
            // First: from here on `/dev/protheap` can be opened, and drivers that are built in are
            // no longer sent away, even if what follows fails.
            // SAFETY: The module is initialised once, and nothing of it can be reached before.
            registration: unsafe { registry::Registration::new() },
            misc <- misc::Misc::register(),
            _: { registration.announce_by(misc.device()) },
            watch: notifier::Watch::new()?,
            config <- configfs::Root::register(),
            // A hint, as all events are: it may be lost.
            _: { let _ = event::send_ready(); },
        })
    }
}
