// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is known of a machine. `protheap-board` collects it; nothing here touches the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::words;

/// The size of the protected section of every firmware image that is known, in bytes: what is
/// assumed where no image can be read. (Debian's `firmware-misc-nonfree`, arch 10.8 to 13.8.)
pub const FIRMWARE_BYTES: u64 = 256 * 1024;

/// The largest protected section of a firmware image that is believed, in bytes.
pub const LARGEST_FIRMWARE_BYTES: u64 = 64 * FIRMWARE_BYTES;

/// Everything that a decision may rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The board.
    pub platform: Platform,
    /// What the running kernel offers.
    pub kernel: Kernel,
    /// The Mali CSF GPUs on the platform bus, by device name.
    pub gpus: BTreeMap<DeviceName, Gpu>,
    /// The dma-buf heaps that exist.
    pub heaps: BTreeSet<HeapName>,
    /// The trusted execution environments that have registered.
    pub tees: Vec<Tee>,
    /// Devices whose driver may still bring a heap.
    pub providers: BTreeMap<DeviceName, Provider>,
    /// The GPU firmware images that were read.
    pub firmware: Vec<Firmware>,
    /// The SoC, where a policy asks for it.
    pub socs: Vec<Soc>,
}

/// The board, as its device tree names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The root node's `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// The root node's `model`.
    pub model: Option<String>,
}

/// What the running kernel offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Kernel lockdown is at `integrity` or above.
    pub lockdown: bool,
    /// protheap.ko, where it is loaded and its configfs directory is there.
    pub module: Option<Module>,
    /// The parameter of a panthor that has one, where protheap.ko is not.
    pub parameter: Option<Parameter>,
}

impl Kernel {
    /// The word for what takes a binding.
    pub fn delivery(&self) -> &'static str {
        match (&self.module, &self.parameter) {
            (Some(_), _) => "module",
            (None, Some(_)) => "panthor-parameter",
            (None, None) => "none",
        }
    }

    /// Who allocates the buffers.
    pub fn source(&self) -> Source {
        match (&self.module, &self.parameter) {
            (Some(module), _) => module.source(),
            (None, Some(_)) => Source::Driver,
            (None, None) => Source::Handed,
        }
    }
}

/// panthor's parameter `protected_heap_name`: the heap that the driver takes its buffers from, for
/// all its GPUs. Linux 7.3 has none; it is of a series of May 2026.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// panthor is not loaded yet: the name can be given.
    Open,
    /// The name is given, or cannot be given any more.
    Set(String),
}

/// What protheap.ko says of itself in configfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The version of its configfs and ioctl interface.
    pub abi: u32,
    /// Where its buffers can come from: `handed`, `kernel`.
    pub sources: Vec<String>,
}

impl Module {
    /// The source that is used: the kernel allocates wherever it can.
    pub fn source(&self) -> Source {
        let offers_kernel = self.sources.iter().any(|source| source == Source::Kernel.as_str());
        if offers_kernel { Source::Kernel } else { Source::Handed }
    }
}

/// Who allocates the buffers of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// User space, which hands each one over.
    Handed,
    /// protheap.ko itself, at commit.
    Kernel,
    /// The GPU's driver, from the heap that its parameter names.
    Driver,
}

impl Source {
    /// The word for it, which the module knows too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handed => "handed",
            Self::Kernel => "kernel",
            Self::Driver => "driver",
        }
    }
}

/// A binding as the kernel shows it, whoever made it: committed, and not withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBinding {
    /// The heap.
    pub heap: HeapName,
    /// Who allocates.
    pub source: Source,
    /// The exporter of its buffers.
    pub exporter: String,
    /// What is known of their protection.
    pub protection: Protection,
    /// The GPU driver has taken buffers.
    pub in_use: bool,
    /// The size of the firmware's buffer, in bytes.
    pub firmware_bytes: u64,
    /// The size that each suspend buffer must have, in bytes.
    pub suspend_bytes: u64,
    /// The most suspend buffers, free and in use.
    pub suspend_count: u32,
    /// The suspend buffers that there are, free and in use.
    pub suspend_buffers: u32,
    /// The suspend buffers that protected groups have.
    pub suspend_in_use: u32,
    /// How many more suspend buffers are to be handed over.
    pub suspend_wanted: u32,
}

impl KernelBinding {
    /// Its memory is that of a TEE. A binding that has no buffers, as while OP-TEE's driver is unbound,
    /// has no exporter: then the heap's name counts.
    pub fn is_of_tee(&self) -> bool {
        self.exporter == TEE_EXPORTER || self.exporter.is_empty() && self.heap.is_of_tee()
    }
}

/// What the kernel's TEE heaps call themselves in their buffers (drivers/tee/tee_heap.c).
pub const TEE_EXPORTER: &str = "tee";

/// A Mali CSF GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpu {
    /// Its node's `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// The driver that is bound to it.
    pub driver: Option<String>,
    /// What came of the heaps that were tried for it.
    pub verdicts: BTreeMap<HeapName, Verdict>,
}

/// A trusted execution environment, as under `/sys/class/tee`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tee {
    /// `optee`, `amdtee`, `tstee`, `qtee`, or the number that the kernel shows.
    pub implementation: String,
    /// The first part of `revision`, such as `4.6`. A hint: the kernel's documentation calls the
    /// attribute diagnostics, and only Linux 6.19 and later have it.
    pub revision: Option<String>,
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.revision.as_deref().unwrap_or("of unknown revision");
        write!(f, "{} {revision}", self.implementation)
    }
}

impl Tee {
    /// Its driver makes dma-buf heaps. Up to Linux 7.3 only OP-TEE's does (drivers/tee/optee).
    pub fn makes_heaps(&self) -> bool {
        self.implementation == "optee"
    }
}

/// A system on chip, as under `/sys/bus/soc/devices`. What its driver does not tell is `None`.
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
    /// The driver that is bound to it.
    pub driver: Option<String>,
    /// A driver for it is built in, or is among the modules of this root.
    pub loadable: bool,
    /// The modules or built-in drivers that serve it, where they were looked up.
    pub modules: Vec<String>,
    /// All of these are registered and none is bound to it: one of them probes it, or the kernel has
    /// deferred that. No event of the kernel announces that such a probe fails.
    pub probing: bool,
    /// Its probe failed, or its driver was unbound: it brings no heap.
    pub failure: Option<Failure>,
}

/// Why a provider has no driver though one for it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the kernel logged, or else what is seen in sysfs.
    pub message: String,
    /// It is known that the kernel has not deferred the probe.
    pub certain: bool,
}

impl Facts {
    /// A TEE that makes heaps has registered.
    pub fn has_tee_for_heaps(&self) -> bool {
        self.tees.iter().any(Tee::makes_heaps)
    }

    /// The heap is one of a TEE that is not there, and has a driver. It may be going: then its heap
    /// still gives buffers, and the last of them keeps it from that.
    pub fn lacks_tee_of(&self, heap: &HeapName) -> bool {
        let has_driver = |provider: &Provider| provider.driver.is_some() || provider.loadable;
        heap.is_of_tee() && !self.has_tee_for_heaps() && self.providers.values().any(has_driver)
    }
}

impl Provider {
    /// No heap is to be expected of it any more: its driver has probed or failed to, or there is none.
    pub fn settled(&self) -> bool {
        self.driver.is_some() || self.failure.is_some() || !self.loadable
    }
}

/// A GPU firmware image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The directory that the GPU driver loads it from, such as `arch10.8`.
    pub name: String,
    /// The bytes of its protected sections together.
    pub protected_bytes: u64,
}

/// Suspend buffers that a heap had no memory for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// How many suspend buffers were allocated.
    pub allocated: u32,
    /// How many the policy allows.
    pub wanted: u32,
    /// Why the next allocation failed.
    pub why: String,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allocated, wanted, why } = self;
        write!(f, "{allocated} of {wanted} suspend buffers: {why}")
    }
}

impl Verdict {
    /// Why the heap gave fewer suspend buffers than the policy allows.
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
    /// How CMA bears on `heap` having no memory for `bytes` bytes, and the remedy. Only the heaps
    /// of a TEE can take their pool from CMA (`drivers/tee/optee/protmem.c`), as a whole and at the
    /// first allocation; the size of the pool is the TEE's.
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
        /// It cannot be mapped, and its exporter is the kernel's TEE heap.
        Tee = "tee",
        /// It cannot be mapped. That is necessary, not proof.
        Unmappable = "unmappable",
        /// It can be mapped.
        None = "none",
    }
}

impl Protection {
    /// What is known of memory that cannot be mapped and comes from this exporter.
    pub fn of_exporter(exporter: &str) -> Self {
        if exporter == TEE_EXPORTER { Self::Tee } else { Self::Unmappable }
    }
}

/// Result of allocating the buffers that a GPU needs from a heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The firmware buffer and suspend buffers were allocated.
    Allocated {
        /// What is known of their protection.
        protection: Protection,
        /// The exporter's name, from the buffer's `fdinfo`.
        exporter: String,
        /// Set if the heap ran out of memory before the last suspend buffer.
        shortage: Option<Shortage>,
    },
    /// The heap has no memory for the firmware buffer and one suspend buffer. The text says what
    /// was allocated and what was refused.
    TooSmall(String),
    /// The heap refuses any allocation, as a heap does whose TEE has gone.
    Dead,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cma_explains_only_heaps_of_a_tee() {
        let heap = |name| HeapName::new(name).unwrap();
        let cma = Cma { total: 65_536, free: 128 };
        let said = cma.explain(&heap("protected,secure-video"), 262_144).unwrap();
        assert!(said.starts_with("CMA has 128 of 65536 KiB free: increase `cma=`"), "{said}");
        let said = Cma { free: 256, ..cma }.explain(&heap("protected,a"), 262_144).unwrap();
        assert!(said.contains("if the TEE takes a larger pool"), "{said}");
        assert_eq!(cma.explain(&heap("acme_svp"), 262_144), None);
    }
}
