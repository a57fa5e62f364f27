// SPDX-License-Identifier: MIT OR Apache-2.0

//! Facts about a machine. `protheap-board` collects them; nothing here accesses the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter;

use serde::{Deserialize, Serialize};

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::words;

/// Size of a firmware image's protected section where no image can be read, in bytes. All known
/// images have this size (Debian's `firmware-misc-nonfree`, arch 10.8 to 13.8).
pub const FIRMWARE_BYTES: u64 = 256 * 1024;

/// Maximum accepted size of a firmware image's protected sections, in bytes.
pub const LARGEST_FIRMWARE_BYTES: u64 = 64 * FIRMWARE_BYTES;

/// All facts that a selection depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The board.
    pub platform: Platform,
    /// Capabilities of the running kernel.
    pub kernel: Kernel,
    /// The Mali CSF GPUs on the platform bus, by device name.
    pub gpus: BTreeMap<DeviceName, Gpu>,
    /// The dma-buf heaps that exist.
    pub heaps: BTreeSet<HeapName>,
    /// The registered trusted execution environments.
    pub tees: Vec<Tee>,
    /// Devices whose driver can register a heap.
    pub providers: BTreeMap<DeviceName, Provider>,
    /// The kernel modules that a policy's `module` names, by name.
    pub heap_modules: BTreeMap<String, HeapModule>,
    /// Nodes of the device tree that have a compatible string which a policy's `provider` names,
    /// and no device; by that string. Only `protheapctl` collects them.
    pub inert_nodes: BTreeMap<String, String>,
    /// The GPU firmware images that were read.
    pub firmware: Vec<Firmware>,
    /// The SoC. Read only if a policy has a condition on it.
    pub socs: Vec<Soc>,
}

/// The board, as identified by its device tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The root node's `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// The root node's `model`.
    pub model: Option<String>,
}

/// Capabilities of the running kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Whether kernel lockdown is at `integrity` or above.
    pub lockdown: bool,
    /// protheap.ko, if it is loaded and its configfs directory exists.
    pub module: Option<Module>,
    /// panthor's parameter, if panthor has it and protheap.ko is not loaded.
    pub parameter: Option<Parameter>,
}

impl Kernel {
    /// Returns the mechanism that delivers a binding to the driver of `gpu`.
    ///
    /// A driver takes a buffer by ioctl only if no other mechanism serves it. Before a driver is
    /// bound, nothing shows whether it will, and the mechanism is that of the kernel.
    pub fn delivery(&self, gpu: &Gpu) -> Delivery {
        match (&gpu.section, &self.module, &self.parameter) {
            (Some(_), ..) => Delivery::Ioctl,
            (None, Some(_), _) => Delivery::Module,
            (None, None, Some(_)) => Delivery::PanthorParameter,
            (None, None, None) => Delivery::None,
        }
    }

    /// Returns who allocates the buffers of `gpu`.
    pub fn source(&self, gpu: &Gpu) -> Source {
        match (&gpu.section, &self.module, &self.parameter) {
            (Some(_), ..) => Source::Ioctl,
            (None, Some(module), _) => module.source(),
            (None, None, Some(_)) => Source::Driver,
            (None, None, None) => Source::Handed,
        }
    }
}

words! {
    /// Mechanism that delivers a binding to the GPU driver, in the order of precedence.
    Delivery {
        /// The running GPU driver takes the firmware buffer by ioctl. Its clients allocate suspend
        /// buffers.
        Ioctl = "ioctl",
        /// protheap.ko hands the buffers to a driver that asks for them.
        Module = "module",
        /// panthor allocates from the heap that its parameter names.
        PanthorParameter = "panthor-parameter",
        /// No driver takes a binding.
        None = "none",
    }
}

/// panthor's parameter `protected_heap_name`: the heap from which the driver allocates the buffers
/// of all its GPUs. Linux 7.3 has no such parameter; a patch series of May 2026 adds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// panthor is not loaded yet, so that the parameter can be set.
    Open,
    /// The parameter is set, or panthor was loaded without it.
    Set(String),
}

/// Attributes of protheap.ko in configfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Version of its configfs and ioctl interface.
    pub abi: u32,
    /// Whether it can allocate the buffers itself.
    pub can_allocate: bool,
}

impl Module {
    /// Returns the allocator to use: the kernel, if it is supported.
    pub fn source(&self) -> Source {
        if self.can_allocate { Source::Kernel } else { Source::Handed }
    }
}

/// Allocator of a binding's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// User space allocates each buffer and hands it over.
    Handed,
    /// protheap.ko allocates the buffers at commit.
    Kernel,
    /// The GPU driver allocates from the heap that its parameter names.
    Driver,
    /// User space allocates the firmware buffer and sets it in the running GPU driver. Clients of
    /// the driver allocate suspend buffers.
    Ioctl,
}

impl Source {
    /// Returns the word for the allocator, as in configfs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handed => "handed",
            Self::Kernel => "kernel",
            Self::Driver => "driver",
            Self::Ioctl => "ioctl",
        }
    }
}

/// A committed binding as the kernel shows it, whichever program made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBinding {
    /// The heap.
    pub heap: HeapName,
    /// Allocator of the buffers.
    pub source: Source,
    /// Exporter of the buffers.
    pub exporter: String,
    /// Known protection of the buffers.
    pub protection: Protection,
    /// Whether the GPU driver has taken buffers.
    pub in_use: bool,
    /// Size of the firmware's buffer, in bytes.
    pub firmware_bytes: u64,
    /// Required size of each suspend buffer, in bytes.
    pub suspend_bytes: u64,
    /// Maximum number of suspend buffers, free and in use.
    pub suspend_count: u32,
    /// Current number of suspend buffers, free and in use.
    pub suspend_buffers: u32,
    /// Number of suspend buffers that protected groups use.
    pub suspend_in_use: u32,
    /// Number of further suspend buffers that the kernel requests.
    pub suspend_wanted: u32,
}

impl KernelBinding {
    /// Returns whether the memory is that of a TEE. A binding without buffers has no exporter, for
    /// example while OP-TEE's driver is unbound. Then the heap's name decides.
    pub fn is_of_tee(&self) -> bool {
        self.exporter == TEE_EXPORTER || self.exporter.is_empty() && self.heap.is_of_tee()
    }
}

/// Exporter name of the kernel's TEE heaps (`drivers/tee/tee_heap.c`).
pub const TEE_EXPORTER: &str = "tee";

/// A Mali CSF GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpu {
    /// Its node's `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// Driver that is bound to the GPU.
    pub driver: Option<String>,
    /// Protected section of the firmware that the driver runs, if the driver takes or has a buffer
    /// for it by ioctl.
    pub section: Option<Section>,
    /// Whether the section is unknown, because the driver cannot be queried.
    pub hides_section: bool,
    /// Results of allocating this GPU's buffers, by heap.
    pub verdicts: BTreeMap<HeapName, Verdict>,
}

/// Protected section of a firmware, for which the GPU driver takes a buffer by ioctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Size of the section, in bytes.
    pub firmware_bytes: u64,
    /// Size of a suspend buffer, in bytes.
    pub suspend_bytes: u64,
}

/// A trusted execution environment, as under `/sys/class/tee`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tee {
    /// Name of the implementation: `optee`, `amdtee`, `tstee`, `qtee`, or the number that the
    /// kernel shows.
    pub implementation: String,
    /// Leading part of `revision`, such as `4.6`. This is a hint: the kernel's documentation calls
    /// the attribute diagnostics, and only Linux 6.19 and later have it.
    pub revision: Option<String>,
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.revision.as_deref().unwrap_or("of unknown revision");
        write!(f, "{} {revision}", self.implementation)
    }
}

impl Tee {
    /// Returns whether the TEE's driver registers dma-buf heaps. Up to Linux 7.3 only OP-TEE's does
    /// (`drivers/tee/optee`).
    pub fn makes_heaps(&self) -> bool {
        self.implementation == "optee"
    }
}

/// A system on chip, as under `/sys/bus/soc/devices`. Attributes that its driver does not set are
/// `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Soc {
    /// Its `soc_id`, such as `i.MX95`.
    pub id: Option<String>,
    /// Its `revision`, such as `2.0`.
    pub revision: Option<String>,
}

/// A device whose driver registers heaps: an OP-TEE node, an OP-TEE partition on FF-A, or a node
/// that a policy's `provider` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// Its node's `compatible`; empty for a device on the FF-A bus.
    pub compatible: Vec<String>,
    /// Driver that is bound to the device.
    pub driver: Option<String>,
    /// Whether a driver for the device is built in, or is among the modules of this root.
    pub loadable: bool,
    /// Modules or built-in drivers that match the device, where they were looked up.
    pub modules: Vec<String>,
    /// Whether all of `modules` are registered and none is bound. Then one of them is probing the
    /// device, or the kernel has deferred the probe. No kernel event reports that such a probe
    /// fails.
    pub probing: bool,
    /// Set if the probe failed or the driver was unbound: the device registers no heap.
    pub failure: Option<Failure>,
}

/// Reason why a provider has no driver although a matching one is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Message from the kernel log, or else a description of the state in sysfs.
    pub message: String,
    /// Whether the kernel is known not to have deferred the probe.
    pub certain: bool,
}

impl Facts {
    /// Returns the names and the compatible strings of the GPUs.
    pub fn gpu_names(&self) -> impl Iterator<Item = &str> {
        self.gpus.iter().flat_map(|(device, gpu)| {
            iter::once(device.as_str()).chain(gpu.compatible.iter().map(String::as_str))
        })
    }

    /// Returns the delivery of the machine: of the deliveries of its GPUs, the first in the order of
    /// precedence.
    pub fn delivery(&self) -> Delivery {
        let gpus = self.gpus.values().map(|gpu| self.kernel.delivery(gpu));
        gpus.min().unwrap_or_else(|| self.kernel.delivery(&Gpu::default()))
    }

    /// Returns whether a TEE that registers heaps is present.
    pub fn has_tee_for_heaps(&self) -> bool {
        self.tees.iter().any(Tee::makes_heaps)
    }

    /// Returns whether `heap` belongs to a TEE that is not registered, though the TEE's driver is
    /// present. The TEE may be about to go away: its heap still allocates then, and each of its
    /// buffers delays the removal of the TEE.
    pub fn lacks_tee_of(&self, heap: &HeapName) -> bool {
        let has_driver = |provider: &Provider| provider.driver.is_some() || provider.loadable;
        heap.is_of_tee() && !self.has_tee_for_heaps() && self.providers.values().any(has_driver)
    }
}

impl Provider {
    /// Returns whether no more heaps can be expected from the device: its driver has probed or has
    /// failed to probe, or there is no driver.
    pub fn has_finished(&self) -> bool {
        self.driver.is_some() || self.failure.is_some() || !self.loadable
    }
}

words! {
    /// State of a kernel module that registers a heap and is no driver of a device.
    HeapModule {
        /// It is not among the modules of this root.
        Missing = "missing",
        /// It is installed and not loaded.
        Installed = "installed",
        /// Its initialization is running.
        Coming = "loading",
        /// It is initialized.
        Live = "loaded",
        /// It is part of the kernel image, and was initialized before user space started.
        BuiltIn = "built-in",
        /// It was loaded, or was being loaded, and is gone: its initialization failed, or it was
        /// unloaded.
        Gone = "gone",
    }
}

impl HeapModule {
    /// Returns whether no more heaps can be expected from the module. One whose initialization
    /// failed before it was seen counts as pending: it looks like one that is not loaded yet.
    pub fn has_finished(self) -> bool {
        !matches!(self, Self::Installed | Self::Coming)
    }

    /// Returns whether the module can register, or has registered, a heap on this machine.
    pub fn is_there(self) -> bool {
        self != Self::Missing
    }

    /// Returns the state of a module that looks like this now and was `before`.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        match (before, self) {
            (Self::Coming | Self::Live | Self::Gone, Self::Installed | Self::Missing) => Self::Gone,
            (_, now) => now,
        }
    }
}

/// A GPU firmware image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// Directory from which the GPU driver loads the image, such as `arch10.8`.
    pub name: String,
    /// Total size of its protected sections, in bytes.
    pub protected_bytes: u64,
}

/// Suspend buffers that could not be allocated because the heap had no more memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Number of suspend buffers that were allocated.
    pub allocated: u32,
    /// Number of suspend buffers that the policy allows.
    pub wanted: u32,
    /// Error of the next allocation.
    pub why: String,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allocated, wanted, why } = self;
        write!(f, "{allocated} of {wanted} suspend buffers: {why}")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allocated { protection, exporter, shortage } => {
                write!(f, "protection {protection}, exporter {exporter}")?;
                shortage.as_ref().map_or(Ok(()), |shortage| write!(f, "; {shortage}"))
            }
            Self::TooSmall(why) => write!(f, "too small: {why}"),
            Self::Dead => f.write_str("dead"),
        }
    }
}

impl Verdict {
    /// Returns the shortage if the heap allocated fewer suspend buffers than the policy allows.
    pub fn shortage(&self) -> Option<&Shortage> {
        match self {
            Self::Allocated { shortage, .. } => shortage.as_ref(),
            Self::TooSmall(_) | Self::Dead => None,
        }
    }
}

/// Free and total memory of the kernel's contiguous memory allocator, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cma {
    /// `CmaTotal` of `/proc/meminfo`.
    pub total: u64,
    /// `CmaFree` of `/proc/meminfo`.
    pub free: u64,
}

impl Cma {
    /// Returns how CMA relates to `heap` having no memory for `bytes` bytes, and a remedy. Only the
    /// heaps of a TEE can allocate their pool from CMA (`drivers/tee/optee/protmem.c`), as a whole
    /// and at the first allocation. The TEE determines the size of the pool.
    pub fn explain(self, heap: &HeapName, bytes: u64) -> Option<String> {
        if !heap.is_of_tee() {
            return None;
        }
        let Self { total, free } = self;
        Some(if free < bytes.div_ceil(1024) {
            format!(
                "CMA has {free} of {total} KiB free: increase `cma=` on the kernel command line"
            )
        } else {
            format!(
                "CMA has {free} of {total} KiB free: if the TEE takes a larger pool from it, increase \
                 `cma=` on the kernel command line"
            )
        })
    }
}

words! {
    /// Protection of a heap's memory from the CPU, as far as user space can know.
    Protection {
        /// The CPU cannot map it, and its exporter is the kernel's TEE heap.
        Tee = "tee",
        /// The CPU cannot map it. That is necessary, but no proof.
        Unmappable = "unmappable",
        /// The CPU can map it.
        None = "none",
    }
}

impl Protection {
    /// Returns the protection of unmappable memory from this exporter.
    pub fn of_exporter(exporter: &str) -> Self {
        if exporter == TEE_EXPORTER { Self::Tee } else { Self::Unmappable }
    }
}

/// Result of allocating the buffers that a GPU needs from a heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The firmware buffer and suspend buffers were allocated.
    Allocated {
        /// Known protection of the buffers.
        protection: Protection,
        /// The exporter's name, from the buffer's `fdinfo`.
        exporter: String,
        /// Set if the heap ran out of memory before the last suspend buffer.
        shortage: Option<Shortage>,
    },
    /// The heap has no memory for the firmware buffer and one suspend buffer. The text says which
    /// buffers were allocated and which allocation failed.
    TooSmall(String),
    /// The heap refuses every allocation, as the heap of a TEE that has gone away does.
    Dead,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heap(name: &str) -> HeapName {
        HeapName::new(name).unwrap()
    }

    #[test]
    fn module_precedes_the_parameter_of_panthor() {
        let module = Module { abi: 1, can_allocate: true };
        let with = |module: Option<Module>, parameter| {
            let kernel = Kernel { module, parameter, ..Kernel::default() };
            let gpu = Gpu::default();
            (kernel.delivery(&gpu), kernel.source(&gpu))
        };
        let both = with(Some(module.clone()), Some(Parameter::Open));
        assert_eq!(both, (Delivery::Module, Source::Kernel));
        assert_eq!(with(Some(module), None), (Delivery::Module, Source::Kernel));
        assert_eq!(with(None, Some(Parameter::Open)), (Delivery::PanthorParameter, Source::Driver));
        assert_eq!(with(None, None), (Delivery::None, Source::Handed));
    }

    #[test]
    fn ioctl_precedes_all_other_deliveries() {
        let with = |section| Gpu { section, ..Gpu::default() };
        let section = Section { firmware_bytes: FIRMWARE_BYTES, suspend_bytes: 65_536 };
        let (taker, other) = (with(Some(section)), with(None));
        let module = Module { abi: 1, can_allocate: true };
        let parameter = Some(Parameter::Open);
        for module in [None, Some(module)] {
            let kernel = Kernel { module, parameter: parameter.clone(), ..Kernel::default() };
            assert_eq!(kernel.delivery(&taker), Delivery::Ioctl);
            assert_eq!(kernel.source(&taker), Source::Ioctl);
            assert_ne!(kernel.delivery(&other), Delivery::Ioctl);
            let gpu = |name: &str, gpu: &Gpu| (DeviceName::new(name).unwrap(), gpu.clone());
            let gpus = [gpu("a.gpu", &other), gpu("b.gpu", &taker)].into();
            assert_eq!(Facts { kernel, gpus, ..Facts::default() }.delivery(), Delivery::Ioctl);
        }
        assert_eq!(Facts::default().delivery(), Delivery::None);
    }

    #[test]
    fn exporter_says_whether_a_binding_is_of_a_tee_and_the_heap_if_there_is_none() {
        let is_of_tee = |name: &str, exporter: &str| {
            let binding = KernelBinding {
                heap: heap(name),
                source: Source::Handed,
                exporter: exporter.to_owned(),
                protection: Protection::Tee,
                in_use: false,
                firmware_bytes: FIRMWARE_BYTES,
                suspend_bytes: 65_536,
                suspend_count: 16,
                suspend_buffers: 16,
                suspend_in_use: 0,
                suspend_wanted: 0,
            };
            binding.is_of_tee()
        };
        assert!(is_of_tee("acme_svp", TEE_EXPORTER));
        assert!(is_of_tee("protected,a", ""));
        assert!(!is_of_tee("acme_svp", ""));
        // A vendor's heap can have such a name.
        assert!(!is_of_tee("protected,a", "acme"));
    }

    #[test]
    fn only_optee_registers_heaps() {
        let tee = |implementation: &str| Tee {
            implementation: implementation.to_owned(),
            revision: Some("4.6".into()),
        };
        let tees = ["optee", "amdtee", "tstee", "qtee", "7"].map(tee);
        let makers: Vec<_> = tees.iter().filter(|tee| tee.makes_heaps()).collect();
        assert_eq!(makers, [&tee("optee")]);
        assert_eq!(tee("optee").to_string(), "optee 4.6");
        let unknown = Tee { revision: None, ..tee("qtee") };
        assert_eq!(unknown.to_string(), "qtee of unknown revision");
    }

    #[test]
    fn protection_of_unmappable_memory_depends_on_its_exporter() {
        assert_eq!(Protection::of_exporter(TEE_EXPORTER), Protection::Tee);
        assert_eq!(Protection::of_exporter("system"), Protection::Unmappable);
    }

    #[test]
    fn cma_explains_only_heaps_of_a_tee() {
        let cma = Cma { total: 65_536, free: 128 };
        let said = cma.explain(&heap("protected,secure-video"), 262_144).unwrap();
        assert!(said.starts_with("CMA has 128 of 65536 KiB free: increase `cma=`"), "{said}");
        let said = Cma { free: 256, ..cma }.explain(&heap("protected,a"), 262_144).unwrap();
        assert!(said.contains("if the TEE takes a larger pool"), "{said}");
        assert_eq!(cma.explain(&heap("acme_svp"), 262_144), None);
    }
}
