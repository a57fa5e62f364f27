// SPDX-License-Identifier: GPL-2.0

//! All GPUs that user space or a driver has named.

use crate::{
    abstractions::{
        abi,
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
    /// GPUs stay until their device is removed: each is held once. A GPU keeps its place, because
    /// [`for_each`] must not skip one.
    gpus: KVec<Option<Entry>>,
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
        for entry in gpus.iter().flatten() {
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
    forget_removed();
    let mut registry = REGISTRY.lock();
    let mut known = registry.gpus.iter().flatten().map(|entry| &entry.gpu);
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
    match registry.gpus.iter_mut().find(|place| place.is_none()) {
        Some(place) => *place = Some(entry),
        None => registry.gpus.push(Some(entry), GFP_KERNEL)?,
    }
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
    Gpu::open(&gpu)?;
    Ok(gpu)
}

/// Adds a buffer that user space hands over for the device of that name.
///
/// For the errors see `uapi/protheap.h`.
pub(crate) fn hand_over(device: &CStr, kind: Kind, buffer: DmaBuf) -> Result {
    // A removed device of that name may still have a withdrawn binding.
    let gpu = {
        let registry = REGISTRY.lock();
        let mut gpus = registry.gpus.iter().flatten().map(|entry| &entry.gpu);
        gpus.find(|gpu| gpu.device().name() == device && gpu.is_open())
            .ok_or(ENODEV)?
            .clone()
    };
    gpu.hand_over(kind, buffer)
}

/// Calls a function for each GPU, with the registry unlocked.
pub(crate) fn for_each(mut call: impl FnMut(&Gpu)) {
    // Nothing is allocated: the machine may be short of memory.
    let mut next = 0;
    loop {
        let gpu = match REGISTRY.lock().gpus.get(next) {
            Some(place) => place.as_ref().map(|entry| entry.gpu.clone()),
            None => return,
        };
        if let Some(gpu) = gpu {
            call(&gpu);
        }
        next += 1;
    }
}

/// Forgets the GPUs whose device was removed, as far as nothing uses them. Releases the devices.
///
/// Called by `glue.c`, with nothing locked, as well.
#[export_name = "protheap_forget_removed"]
pub(crate) extern "C" fn forget_removed() {
    loop {
        let entry = REGISTRY
            .lock()
            .gpus
            .iter_mut()
            .find(|place| place.as_ref().is_some_and(|entry| entry.gpu.is_unused()))
            .and_then(Option::take);
        match entry {
            // Nothing is queued any more.
            Some(entry) => entry.gpu.flush(),
            None => return,
        }
    }
}

/// Notes that a device was removed from the platform bus. Returns whether it is a GPU, so that
/// [`forget_removed`] has to be called. Called by `glue.c`.
///
/// # Safety
///
/// `dev` must be valid.
#[no_mangle]
unsafe extern "C" fn protheap_device_removed(dev: *mut abi::device) -> bool {
    // SAFETY: By the safety requirements.
    let dev: &Device = unsafe { Device::from_raw(dev) };
    let mut is_known = false;
    for_each(|gpu| {
        if core::ptr::eq(gpu.device(), dev) {
            gpu.set_removed();
            is_known = true;
        }
    });
    is_known
}
