// SPDX-License-Identifier: GPL-2.0

//! All GPUs that somebody asked for, and what is done with all of them.

use crate::{
    abstractions::{
        device::find_platform_device,
        dma_buf::{
            self,
            DmaBuf, //
        },
        notifier::Cause, //
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
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
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

/// All GPUs, and the device whose uevents tell of them.
struct Registry {
    // A GPU stays until the module goes: it remembers that its window is spent.
    gpus: KVec<Entry>,
    herald: Option<ARef<Device>>,
    debugfs: Option<debugfs::Dir>,
}

/// Whether the registry is set up. Where all is built in, drivers may probe before.
static READY: Atomic<bool> = Atomic::new(false);

/// Whether the machine goes down: nothing is bound from here on.
static SHUT_DOWN: Atomic<bool> = Atomic::new(false);

/// Whether an image of the kernel is being taken or restored: nothing is bound meanwhile.
static EVACUATED: Atomic<bool> = Atomic::new(false);

kernel::sync::global_lock! {
    // SAFETY: `Registration::new()` initialises it before anything can use it.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        gpus: KVec::new(),
        herald: None,
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
        unsafe { REGISTRY.init() };
        REGISTRY.lock().debugfs = Some(debugfs::Dir::new(c"protheap"));
        READY.store(true, Release);
        Self(())
    }

    /// Lets changes be told by uevents of `herald`, which must stay registered until `self` is
    /// dropped.
    pub(crate) fn announce_by(&self, herald: &Device) {
        REGISTRY.lock().herald = Some(herald.into());
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
        let mut registry = REGISTRY.lock();
        registry.herald = None;
        registry.debugfs = None;
    }
}

/// Whether the machine goes down. Set before any GPU's lock is taken for that: who takes the lock
/// later sees it.
pub(crate) fn is_shut_down() -> bool {
    SHUT_DOWN.load(Relaxed)
}

/// Whether an image of the kernel is being taken or restored. Set, as the above, before any GPU's
/// lock is taken for that.
pub(crate) fn is_evacuated() -> bool {
    EVACUATED.load(Relaxed)
}

/// The device whose uevents tell of all GPUs.
pub(crate) fn herald() -> Result<ARef<Device>> {
    REGISTRY.lock().herald.clone().ok_or(ENODEV)
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
fn for_each(mut call: impl FnMut(&Gpu)) {
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

/// Has every GPU return its buffers, until one cannot.
fn evacuate(cause: Cause) -> Result {
    let mut result = Ok(());
    for_each(|gpu| {
        if result.is_ok() {
            result = gpu.evacuate(cause);
        }
    });
    // A file's last reference goes later than it is dropped: that would be too late.
    dma_buf::flush_dropped();
    result
}

/// Returns all buffers to their heaps.
///
/// `EBUSY` if an image is about to be taken and a driver holds buffers that it cannot release; then
/// all is as before.
///
/// Called by `glue.c` in process context, before anything is frozen; for [`Cause::ShutDown`] while
/// drivers still work, but freezable workqueues may be frozen, because an image was written; for
/// [`Cause::TeeLeaves`] with the lock of OP-TEE's device held.
#[no_mangle]
extern "C" fn protheap_evacuate(cause: Cause) -> c_int {
    match cause {
        Cause::ShutDown => SHUT_DOWN.store(true, Relaxed),
        Cause::TakeImage | Cause::RestoreImage => EVACUATED.store(true, Relaxed),
        Cause::TeeLeaves => (),
    }
    match evacuate(cause) {
        Err(err) if cause == Cause::TakeImage => {
            protheap_repopulate(cause);
            err.to_errno()
        }
        _ => 0,
    }
}

/// Ends [`protheap_evacuate`]: an image was taken or restored, or could not be, or OP-TEE's driver
/// is unbound. A binding whose heap is dead is open then.
///
/// Called by `glue.c` in process context, when nothing is frozen any more; for [`Cause::TeeLeaves`]
/// with the lock of OP-TEE's device held.
#[no_mangle]
extern "C" fn protheap_repopulate(cause: Cause) {
    if cause != Cause::TeeLeaves {
        EVACUATED.store(false, Relaxed);
    }
    for_each(Gpu::repopulate);
}
