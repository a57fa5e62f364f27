// SPDX-License-Identifier: GPL-2.0

//! All GPUs that user space or a driver has named.

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

/// A GPU, and its file in debugfs.
struct Entry {
    gpu: Arc<Gpu>,
    _file: Pin<KBox<debugfs::File<Arc<Gpu>>>>,
}

/// All GPUs.
struct Registry {
    // A GPU stays until the module is unloaded: it is held once in a boot.
    gpus: KVec<Entry>,
    debugfs: Option<debugfs::Dir>,
}

/// The registry is set up. Built-in drivers may probe before.
static READY: Atomic<bool> = Atomic::new(false);

kernel::sync::global_lock! {
    // SAFETY: `Registration::new()` initialises it before anything can use it.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        gpus: KVec::new(),
        debugfs: None,
    };
}

/// The registry's lifetime: that of the module.
pub(crate) struct Registration(());

impl Registration {
    /// Sets the registry up.
    ///
    /// # Safety
    ///
    /// Must be called once, before anything else of this file is used.
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

    /// Sets the device that sends all events. It must stay registered until `self` is dropped.
    pub(crate) fn announce_by(&self, dev: &Device) {
        uevent::set_sender(Some(dev));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // No group, no driver and no suspend buffer is left: each of them pins the module. A device
        // may still wait to be probed.
        let gpus = core::mem::replace(&mut REGISTRY.lock().gpus, KVec::new());
        for entry in &gpus {
            entry.gpu.flush();
        }
        drop(gpus);
        uevent::set_sender(None);
        REGISTRY.lock().debugfs = None;
    }
}

/// Returns the GPU that is `dev`. `EPROBE_DEFER` before the registry is set up.
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
/// `ENODEV` if there is no such device; `EBUSY` while a driver holds buffers of a withdrawn binding;
/// for other errors see [`crate::machine::check`].
pub(crate) fn open(name: &CStr) -> Result<Arc<Gpu>> {
    let gpu = gpu(&*find_platform_device(name).ok_or(ENODEV)?)?;
    gpu.open()?;
    Ok(gpu)
}

/// Adds a buffer that user space hands over for the device of that name.
///
/// For the errors see `uapi/protheap.h`.
pub(crate) fn hand_over(device: &CStr, kind: Kind, buffer: DmaBuf) -> Result {
    // A removed device of that name may still have a withdrawn binding.
    let gpu = {
        let registry = REGISTRY.lock();
        let mut gpus = registry.gpus.iter().map(|entry| &entry.gpu);
        gpus.find(|gpu| gpu.device().name() == device && gpu.is_open())
            .ok_or(ENODEV)?
            .clone()
    };
    gpu.hand_over(kind, buffer)
}

/// Calls a function for each GPU, with the registry unlocked.
pub(crate) fn for_each(mut call: impl FnMut(&Gpu)) {
    // No GPU is ever removed. Nothing is allocated: the machine may be short of memory.
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
