// SPDX-License-Identifier: GPL-2.0

//! Test driver for a Mali CSF GPU: it takes protected buffers exactly when such a driver would, and
//! accesses no hardware. For tests only.
//!
//! `/sys/kernel/debug/csfgpu/<device>/` shows its buffers. Writing to `groups` creates and destroys
//! protected groups. A group that is kept outlives the driver, like one of an open file. Writing to
//! `/sys/kernel/debug/csfgpu/kept` destroys it.

mod compat;
mod dma_buf;
mod protheap;

use compat::parameter;
use dma_buf::Mapping;
use kernel::{
    debugfs,
    device::{
        Bound,
        Core,
        Device, //
    },
    dma::Device as _,
    driver,
    fmt,
    new_mutex,
    of,
    platform,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    },
    time::{
        delay::fsleep,
        ClockSource,
        Delta,
        Instant,
        Monotonic,
        NSEC_PER_USEC, //
    },
    uaccess::UserSliceReader,
    ModuleMetadata, //
};
use protheap::{
    Attachment,
    SuspendBuffer, //
};

/// Size of the protected section in bytes: the same in every known firmware image.
const FIRMWARE_BYTES: usize = 256 * 1024;

/// Size of a page in bytes, for debugfs.
const PAGE: usize = 4096;

kernel::sync::global_lock! {
    // SAFETY: Initialised by the module's initialiser, before the driver is registered.
    unsafe(uninit) static DEBUGFS: Mutex<Option<debugfs::Dir>> = None;
}

kernel::sync::global_lock! {
    // SAFETY: As above.
    unsafe(uninit) static KEPT: Mutex<KVec<SuspendBuffer>> = KVec::new();
}

/// A protected group.
struct Group {
    // Dropped before the buffer is returned.
    _suspended: Mapping,
    buffer: SuspendBuffer,
}

/// Everything that was obtained from protheap.ko, in the order in which it is dropped.
#[derive(Default)]
struct Protected {
    groups: KVec<Group>,
    firmware: Option<Mapping>,
    late_bounds: u32,
    /// Mean time to take and return a suspend buffer, in nanoseconds.
    suspend_ns: i64,
    attachment: Option<Attachment>,
}

impl Protected {
    /// Takes the firmware buffer, and configures the size of suspend buffers.
    fn boot(&mut self, dev: &Device<Bound>) -> Result {
        if let (Some(attachment), None) = (&self.attachment, &self.firmware) {
            let buffer = attachment.firmware_buffer(FIRMWARE_BYTES)?;
            // SAFETY: `unbind()` and a failed probe drop it.
            let mapping = unsafe { Mapping::new(dev, buffer) };
            let mapping = mapping.inspect_err(|_| attachment.put_firmware_buffer())?;
            self.firmware = Some(mapping);
            attachment.configure_suspend(parameter(module_parameters::suspend_bytes.value()))?;
        }
        Ok(())
    }

    /// Releases the firmware buffer.
    fn release(&mut self) {
        if let (Some(attachment), Some(mapping)) = (&self.attachment, self.firmware.take()) {
            drop(mapping);
            attachment.put_firmware_buffer();
        }
    }

    fn create_group(&mut self, dev: &Device<Bound>) -> Result {
        let attachment = self.attachment.as_ref().ok_or(ENODEV)?;
        // Each group is the first one of its client.
        let buffer = attachment.suspend_buffer(0)?;
        let group = Group {
            // SAFETY: `unbind()` drops it.
            _suspended: unsafe { Mapping::new(dev, buffer.dma_buf()?) }?,
            buffer,
        };
        Ok(self.groups.push(group, GFP_KERNEL)?)
    }

    /// Unmaps the buffer of the last group, and lets it outlive the driver.
    fn keep_group(&mut self) -> Result {
        let group = self.groups.pop().ok_or(ENOENT)?;
        Ok(KEPT.lock().push(group.buffer, GFP_KERNEL)?)
    }

    /// Takes and returns a suspend buffer `count` times, and stores the mean time.
    fn time_suspend(&mut self, count: u32) -> Result {
        // The loop cannot be interrupted, so limit it.
        if !(1..=1_000_000).contains(&count) {
            return Err(EINVAL);
        }
        let attachment = self.attachment.as_ref().ok_or(ENODEV)?;
        let started = Instant::<Monotonic>::now();
        for _ in 0..count {
            drop(attachment.suspend_buffer(0)?);
        }
        let took = started.elapsed().as_nanos();
        self.suspend_ns = took.checked_div(count.into()).ok_or(EINVAL)?;
        Ok(())
    }
}

/// State of a GPU, for debugfs.
#[pin_data]
struct Gpu {
    dev: ARef<Device>,
    /// Time of the probe, in microseconds.
    probed_at: i64,
    #[pin]
    protected: Mutex<Protected>,
}

/// The driver, and its data for a bound device.
struct CsfGpu {
    gpu: Pin<KBox<debugfs::Scope<Gpu>>>,
}

compat::of_device_table!(
    OF_TABLE,
    <CsfGpu as platform::Driver>::IdInfo,
    [(of::DeviceId::new(c"arm,mali-valhall-csf"), ())]
);

impl platform::Driver for CsfGpu {
    type IdInfo = ();
    type Data<'bound> = Self;
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_TABLE);

    fn probe<'bound>(
        dev: &'bound platform::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        // The GPU's MMU maps segments of any size.
        // SAFETY: Nothing is mapped for the device during its probe.
        unsafe { dev.dma_set_max_seg_size(u32::MAX) };
        fsleep(Delta::from_millis(
            parameter::<u32>(module_parameters::probe_ms.value()).into(),
        ));
        let abi = parameter(module_parameters::abi.value());
        if abi != 0 {
            let refused = Attachment::refused_version(dev, abi);
            dev_info!(dev, "version {abi} of protheap.h: {refused:?}\n");
        }
        let attachment = if parameter::<u8>(module_parameters::attach.value()) != 0 {
            // SAFETY: `Self` probes the device; `unbind()` and a failed probe drop the attachment.
            unsafe { Attachment::new::<Self>(dev) }?
        } else {
            None
        };
        let mut protected = Protected {
            attachment,
            ..Protected::default()
        };
        match protected.boot(dev.as_ref()) {
            Ok(()) => (),
            Err(ENOENT) => dev_info!(dev, "no protected mode: not bound to a heap\n"),
            Err(err) => dev_warn!(dev, "no protected mode: {err:?}\n"),
        }
        let debugfs = DEBUGFS.lock().clone().ok_or(ENODEV)?;
        let gpu = try_pin_init!(Gpu {
            dev: dev.as_ref().into(),
            probed_at: Monotonic::ktime_get() / NSEC_PER_USEC,
            protected <- new_mutex!(protected),
        });
        let scope = debugfs.scope(gpu, dev.as_ref().name(), |gpu, dir| {
            dir.read_callback_file(c"probed_at_us", gpu, &Gpu::show_probed);
            dir.read_callback_file(c"bound", gpu, &Gpu::show_bound);
            dir.read_callback_file(c"firmware_bytes", gpu, &Gpu::show_firmware_bytes);
            dir.read_callback_file(c"firmware_dma", gpu, &Gpu::show_firmware_dma);
            dir.read_callback_file(c"late_bounds", gpu, &Gpu::show_late_bounds);
            dir.read_write_callback_file(c"groups", gpu, &Gpu::show_groups, &Gpu::store_groups);
            dir.read_write_callback_file(
                c"suspend_ns",
                gpu,
                &Gpu::show_suspend_ns,
                &Gpu::store_suspend_ns,
            );
        });
        Ok(Self {
            gpu: KBox::pin_init(scope, GFP_KERNEL)?,
        })
    }

    fn unbind<'bound>(_dev: &'bound platform::Device<Core<'_>>, this: Pin<&Self>) {
        let protected = core::mem::take(&mut *this.gpu.protected.lock());
        // Not under the lock: detaching waits for `bound()`, which takes the lock.
        drop(protected);
    }
}

impl protheap::Consumer for CsfGpu {
    fn bound<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>) {
        let mut protected = data.gpu.protected.lock();
        protected.late_bounds += 1;
        match protected.boot(dev.as_ref()) {
            Ok(()) => dev_info!(dev, "protected mode, late\n"),
            Err(err) => dev_warn!(dev, "no protected mode: {err:?}\n"),
        }
    }

    fn release<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>) {
        if parameter::<u8>(module_parameters::release.value()) != 0 {
            data.gpu.protected.lock().release();
            dev_info!(dev, "no protected mode: released\n");
        }
    }
}

/// Files in debugfs.
impl Gpu {
    fn show_probed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.probed_at)
    }

    fn show_bound(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", u8::from(self.protected.lock().firmware.is_some()))
    }

    fn show_firmware_bytes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}",
            self.protected
                .lock()
                .firmware
                .as_ref()
                .map_or(0, Mapping::size)
        )
    }

    fn show_firmware_dma(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.protected.lock().firmware {
            Some(mapping) => writeln!(f, "{:#x} {}", mapping.address(), mapping.size() / PAGE),
            None => writeln!(f),
        }
    }

    fn show_late_bounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.protected.lock().late_bounds)
    }

    fn show_groups(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.protected.lock().groups.len())
    }

    fn store_groups(&self, reader: &mut UserSliceReader) -> Result {
        let mut buf = [0; 16];
        let command = word(reader, &mut buf)?;
        let mut protected = self.protected.lock();
        match command {
            // SAFETY: The file is removed before the driver's data, so the device is bound.
            b"create" => protected.create_group(unsafe { self.dev.as_bound() }),
            b"destroy" => protected.groups.pop().map(drop).ok_or(ENOENT),
            b"keep" => protected.keep_group(),
            _ => Err(EINVAL),
        }
    }

    fn show_suspend_ns(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.protected.lock().suspend_ns)
    }

    fn store_suspend_ns(&self, reader: &mut UserSliceReader) -> Result {
        let mut buf = [0; 16];
        let count = core::str::from_utf8(word(reader, &mut buf)?).map_err(|_| EINVAL)?;
        let count = count.parse().map_err(|_| EINVAL)?;
        self.protected.lock().time_suspend(count)
    }
}

/// File of the groups that have outlived their driver.
struct Kept;

impl Kept {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", KEPT.lock().len())
    }

    fn store(&self, reader: &mut UserSliceReader) -> Result {
        match word(reader, &mut [0; 16])? {
            b"destroy" => KEPT.lock().pop().map(drop).ok_or(ENOENT),
            _ => Err(EINVAL),
        }
    }
}

/// Returns the text that is written to a file, without the newline at its end.
fn word<'a>(reader: &mut UserSliceReader, buf: &'a mut [u8; 16]) -> Result<&'a [u8]> {
    let len = reader.len().min(buf.len());
    let text = buf.get_mut(..len).ok_or(EINVAL)?;
    reader.read_slice(text)?;
    Ok(text.strip_suffix(b"\n").unwrap_or(text))
}

module! {
    type: Module,
    name: "csfgpu",
    authors: ["The Protheap developers"],
    description: "Test driver for a Mali CSF GPU",
    license: "GPL",
    imports_ns: ["DMA_BUF"],
    params: {
        suspend_bytes: usize {
            default: 65536,
            description: "Size of a suspend buffer in bytes, as reported by the firmware",
        },
        attach: u8 {
            default: 1,
            description: "0: do not attach to protheap.ko",
        },
        release: u8 {
            default: 1,
            description: "0: do not release the firmware buffer",
        },
        abi: u32 {
            default: 0,
            description: "Version of protheap.h with which attaching must fail; 0: none",
        },
        probe_ms: u32 {
            default: 0,
            description: "Duration of the probe before the driver attaches, in ms",
        },
    },
}

#[pin_data(PinnedDrop)]
struct Module {
    kept: Pin<KBox<debugfs::File<Kept>>>,
    #[pin]
    driver: driver::Registration<platform::Adapter<CsfGpu>>,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: The module is initialised once.
        unsafe { DEBUGFS.init() };
        // SAFETY: As above.
        unsafe { KEPT.init() };
        let dir = debugfs::Dir::new(c"csfgpu");
        *DEBUGFS.lock() = Some(dir.clone());
        try_pin_init!(Self {
            kept: KBox::pin_init(
                dir.read_write_callback_file(c"kept", Kept, &Kept::show, &Kept::store),
                GFP_KERNEL,
            )?,
            driver <- driver::Registration::new(<Self as ModuleMetadata>::NAME, module),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Module {
    fn drop(self: Pin<&mut Self>) {
        // Statics are never dropped. The directory is removed with its last child.
        *DEBUGFS.lock() = None;
        *KEPT.lock() = KVec::new();
    }
}
