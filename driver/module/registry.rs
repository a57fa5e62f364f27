// SPDX-License-Identifier: GPL-2.0

//! All GPUs that somebody asked for, and what is done with all of them.

use crate::{
    abstractions::{
        device::find_platform_device,
        dma_buf::DmaBuf,
        uevent, //
    },
    binding::Kind,
    buffer,
    gpu::Gpu, //
};
use kernel::{
    debugfs,
    device::Device,
    fmt,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc, //
    }, //
};

/// A GPU, and the file in debugfs that tells of it.
struct Entry {
    gpu: Arc<Gpu>,
    _file: Pin<KBox<debugfs::File<Arc<Gpu>>>>,
}

/// All GPUs.
struct Registry {
    // A GPU stays until the module goes: it remembers that its window is spent.
    gpus: KVec<Entry>,
    debugfs: Option<debugfs::Dir>,
}

/// Whether the registry is set up. Where all is built in, drivers may probe before.
static READY: Atomic<bool> = Atomic::new(false);

kernel::sync::global_lock! {
    // SAFETY: `Registration::new()` initialises it before anything can use it.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        gpus: KVec::new(),
        debugfs: None,
    };
}

/// The registry, for as long as the module is loaded.
pub(crate) struct Registration(());

impl Registration {
    /// Sets the registry up.
    ///
    /// # Safety
    ///
    /// Must be called once, before anything else of this file is.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: By the safety requirements.
        unsafe { buffer::init() };
        // SAFETY: As above.
        unsafe { uevent::init() };
        // SAFETY: As above.
        unsafe { REGISTRY.init() };
        REGISTRY.lock().debugfs = Some(debugfs::Dir::new(c"protheap"));
        READY.store(true, Release);
        Self(())
    }

    /// Sends all events as uevents of `dev` from now on, which must stay registered until `self` is
    /// dropped.
    pub(crate) fn announce_by(&self, dev: &Device) {
        uevent::set_sender(Some(dev));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // No group, no consumer and no suspend buffer is left: each of them pins the module. What
        // is queued runs now: a device may still wait to be probed.
        let gpus = core::mem::replace(&mut REGISTRY.lock().gpus, KVec::new());
        for entry in &gpus {
            entry.gpu.flush();
        }
        drop(gpus);
        uevent::set_sender(None);
        REGISTRY.lock().debugfs = None;
    }
}

/// The GPU that is `dev`. `EPROBE_DEFER` before the registry is set up.
pub(crate) fn gpu(dev: &Device) -> Result<Arc<Gpu>> {
    if !READY.load(Acquire) {
        return Err(EPROBE_DEFER);
    }
    let mut registry = REGISTRY.lock();
    let mut known = registry.gpus.iter().map(|entry| &entry.gpu);
    if let Some(gpu) = known.find(|gpu| core::ptr::eq(gpu.device(), dev)) {
        return Ok(gpu.clone());
    }
    let gpu = Gpu::new(dev)?;
    let debugfs = registry.debugfs.clone().ok_or(ENODEV)?;
    let data: Arc<Gpu> = gpu.clone();
    let file = debugfs.read_callback_file(dev.name(), data, &show);
    let entry = Entry {
        gpu: gpu.clone(),
        _file: KBox::pin_init(file, GFP_KERNEL)?,
    };
    registry.gpus.push(entry, GFP_KERNEL)?;
    Ok(gpu)
}

fn show(gpu: &Arc<Gpu>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    gpu.show(out)
}

/// Opens a binding of the platform device of that name.
///
/// `ENODEV` if there is none; `EBUSY` while a driver holds something of a binding that was
/// withdrawn; `ESHUTDOWN` when the machine goes down.
pub(crate) fn open(name: &CStr) -> Result<Arc<Gpu>> {
    let gpu = gpu(&*find_platform_device(name).ok_or(ENODEV)?)?;
    gpu.open()?;
    Ok(gpu)
}

/// Takes a buffer that user space hands over for the device of that name.
///
/// For the errors see `uapi/protheap.h`.
pub(crate) fn hand_over(device: &CStr, kind: Kind, buffer: DmaBuf) -> Result {
    // A device of that name that was removed may still have a binding that was withdrawn.
    let gpu = {
        let registry = REGISTRY.lock();
        let mut gpus = registry.gpus.iter().map(|entry| &entry.gpu);
        gpus.find(|gpu| gpu.device().name() == device && gpu.is_open())
            .ok_or(ENODEV)?
            .clone()
    };
    gpu.hand_over(kind, buffer)
}

/// Calls a function for each GPU, while the registry is not locked.
pub(crate) fn for_each(mut call: impl FnMut(&Gpu)) {
    // None is ever removed. Nothing is allocated here: the machine may be short of memory.
    let mut next = 0;
    loop {
        let gpu = REGISTRY
            .lock()
            .gpus
            .get(next)
            .map(|entry| entry.gpu.clone());
        match gpu {
            Some(gpu) => call(&gpu),
            None => return,
        }
        next += 1;
    }
}
