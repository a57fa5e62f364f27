// SPDX-License-Identifier: MIT OR Apache-2.0

//! The heaps of a board: those that are present, and those that can appear.

use protheap_board::heaps::{Heap, declared_protected};
use protheap_board::{devices, vendor_modules};
use protheap_core::facts::{FIRMWARE_BYTES, Firmware, Protection, Provider, Verdict};
use protheap_policy::name::HeapName;
use protheap_policy::policy::SUSPEND_BYTES;
use protheap_policy::schema as policy;
use protheap_runtime::state_file;

use crate::devicetree::HeapNode;
use crate::machine::Machine;

/// OP-TEE's heap in a kernel from kernel.org, registered by `drivers/tee/optee`.
pub(super) const OPTEE_HEAP: &str = "protected,secure-video";
/// Allocator of Arm's own GPU driver.
const ARM_ALLOCATOR: &str = "arm,protected-memory-allocator";
/// Heaps for protected video in kernels of MediaTek and ChromeOS. No public source shows that a GPU
/// uses their memory.
const VIDEO: [&str; 3] = ["restricted_mtk_cm", "restricted_mtk_cma", "mtk_svp_"];
const VIDEO_ONLY: &str = "for protected video; no public source shows that a GPU can use it";
const UNTRIED: &str = "present, but no buffers were allocated from it";
/// Words in names of heaps that indicate protected memory.
const WORDS: [&str; 5] = ["prot", "protected", "restricted", "secure", "svp"];

/// A possible heap.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) name: HeapName,
    /// Compatible string of the device whose driver registers the heap.
    pub(super) provider: Option<String>,
    /// Installed modules, one of which may register the heap.
    pub(super) modules: Vec<String>,
    /// Observation about the heap, for a comment and its evidence.
    pub(super) seen: String,
    /// Whether the heap must not be bound without a test that the GPU can use it.
    pub(super) is_guess: bool,
    rank: Rank,
}

/// Order of candidates, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Its buffers are those of a TEE.
    Tee,
    /// Its buffers cannot be mapped.
    Unmappable,
    /// Present, but no buffers were allocated.
    Present,
    /// Can appear.
    Foreseen,
}

/// A heap that was left out.
pub(super) struct LeftOut {
    pub(super) name: String,
    pub(super) why: String,
}

/// A node that may be the source of a heap whose name is unknown.
pub(super) struct Source {
    /// Description of the node.
    pub(super) what: String,
    /// Compatible string for `provider`, if the node is a device.
    pub(super) provider: Option<String>,
}

/// The heaps of a board.
#[derive(Default)]
pub(super) struct Heaps {
    pub(super) candidates: Vec<Candidate>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) sources: Vec<Source>,
}

/// Classifies every heap that is present or can appear.
pub(super) fn judge(machine: &mut Machine, images: &[Firmware]) -> Heaps {
    let mut heaps = Heaps::default();
    if !machine.is_blob {
        heaps.add_present(machine, images);
    }
    heaps.add_nodes(machine);
    heaps.add_optee(machine);
    heaps.add_modules(machine);
    // The order of names has no meaning.
    heaps.candidates.sort_by_key(|candidate| candidate.rank);
    heaps
}

impl Heaps {
    fn leave_out(&mut self, name: &str, why: &str) {
        self.left_out.push(LeftOut { name: name.to_owned(), why: why.to_owned() });
    }

    fn add(&mut self, name: HeapName, seen: &str, rank: Rank) {
        let is_video = is_video(&name);
        let seen = if is_video { format!("{seen}; {VIDEO_ONLY}") } else { seen.to_owned() };
        let (provider, modules) = (None, Vec::new());
        self.candidates.push(Candidate { name, provider, modules, seen, is_guess: is_video, rank });
    }

    /// Adds the heaps that are present.
    fn add_present(&mut self, machine: &mut Machine, images: &[Firmware]) {
        if let Some(file) = state_file::read(&machine.root, &mut machine.problems) {
            file.add_verdicts(&mut machine.facts);
        }
        let known = |heap: &HeapName| {
            let verdicts = machine.facts.gpus.values().filter_map(|gpu| gpu.verdicts.get(heap));
            // An earlier success counts, because the heap's memory may now be in use.
            let is_success = |verdict: &&Verdict| matches!(verdict, Verdict::Allocated { .. });
            verdicts.into_iter().find(is_success).cloned()
        };
        for heap in &machine.facts.heaps {
            let verdict = match known(heap) {
                Some(verdict) => Ok(verdict),
                None if machine.root.is_running() => try_heap(machine, heap, images),
                None => Err(UNTRIED.to_owned()),
            };
            let name = heap.as_str();
            match verdict {
                Ok(Verdict::Allocated { protection: Protection::None, .. }) => {
                    self.leave_out(name, "not protected: the CPU can map its memory");
                }
                Ok(Verdict::Allocated { protection, exporter, .. }) => {
                    let (proof, rank) = match protection {
                        Protection::Tee => ("the kernel's TEE heap", Rank::Tee),
                        _ => ("necessary for protection, but no proof of it", Rank::Unmappable),
                    };
                    let seen =
                        format!("the CPU cannot map its memory; exporter {exporter}: {proof}");
                    self.add(heap.clone(), &seen, rank);
                }
                Ok(Verdict::TooSmall(_)) => self.leave_out(
                    name,
                    "too little free memory for the buffers of a GPU; check its size and its users",
                ),
                Ok(Verdict::Dead) => {
                    self.leave_out(name, "refuses every allocation; check that its TEE is running");
                }
                Err(why) => self.add_untried(machine, heap, &why),
            }
        }
    }

    /// Adds a heap that is present, and about which no attempt has shown anything: as a candidate if
    /// its name is known, or as a guess if its name or the kernel indicates protected memory.
    fn add_untried(&mut self, machine: &Machine, heap: &HeapName, why: &str) {
        let gpus = machine.facts.gpus.iter();
        let gpus = gpus.filter_map(|(device, gpu)| machine.policy.gpu(device, &gpu.compatible));
        let is_it = |candidate: &&policy::Candidate| candidate.name.to_string() == heap.as_str();
        let named = gpus.into_iter().find_map(|gpu| gpu.heaps().iter().find(is_it).cloned());
        let has_word = heap
            .as_str()
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| WORDS.contains(&word));
        let is_declared =
            declared_protected(&machine.root, heap, &mut Vec::new()).unwrap_or_default();
        let driver = machine.tree.driver_of_heap(heap.as_str());
        if let Some(named) = named {
            self.add(heap.clone(), &format!("{why}; named by the applied policies"), Rank::Present);
            if let Some(candidate) = self.candidates.last_mut() {
                candidate.provider = named.provider;
            }
        } else if heap.is_of_tee() {
            self.add(heap.clone(), why, Rank::Present);
        } else if let Some(driver) = driver {
            let seen = format!("{why}; in this vendor's kernels it is that of \"{driver}\"");
            self.add(heap.clone(), &seen, Rank::Present);
        } else if is_declared || has_word {
            let declared = if is_declared { "; the kernel reports it as protected" } else { "" };
            self.add(heap.clone(), &format!("{why}{declared}"), Rank::Present);
            if let Some(candidate) = self.candidates.last_mut() {
                candidate.is_guess = true;
            }
        } else {
            self.leave_out(heap.as_str(), why);
        }
    }

    /// Adds the heaps of nodes in the device tree.
    fn add_nodes(&mut self, machine: &Machine) {
        for node in machine.tree.heap_nodes() {
            let what = described(&node);
            match node.heap.as_deref().and_then(|name| HeapName::new(name).ok()) {
                Some(name) if node.is_okay() => self.add_foreseen(machine, name, &node, &what),
                Some(name) => {
                    let why = format!("{what}, whose status is {:?}", node.status);
                    self.leave_out(name.as_str(), &why);
                }
                None if node.is_okay() => {
                    self.sources.push(Source { what, provider: node.provider });
                }
                None => {}
            }
        }
        for region in machine.tree.reserved_memory().take(100) {
            let name = region.path.rsplit('/').next().unwrap_or_default();
            let is_pool = region.compatible.iter().any(|one| one == "shared-dma-pool");
            if region.reusable && is_pool && !self.left_out.iter().any(|one| one.name == name) {
                self.leave_out(name, "not protected: a CMA pool of the kernel");
            }
        }
    }

    /// Adds the heap of a node, or what the node says about a heap that is present.
    fn add_foreseen(&mut self, machine: &Machine, name: HeapName, node: &HeapNode, what: &str) {
        let is_name = |candidate: &&mut Candidate| candidate.name == name;
        if let Some(candidate) = self.candidates.iter_mut().find(is_name) {
            candidate.seen = format!("{}; {what}", candidate.seen);
            candidate.is_guess = node.is_video || is_video(&name);
            candidate.provider = node.provider.clone().or(candidate.provider.take());
            return;
        }
        let left_out = self.left_out.iter().position(|one| one.name == name.as_str());
        if let Some(left_out) = left_out {
            // A heap that was tried and found unsuitable remains so.
            if self.left_out.get(left_out).is_none_or(|one| !one.why.starts_with(UNTRIED)) {
                return;
            }
            self.left_out.remove(left_out);
        }
        let seen = match left_out {
            Some(_) => format!("{UNTRIED}; {what}"),
            None if machine.is_blob => what.to_owned(),
            None => format!("not present: its driver has not registered it; {what}"),
        };
        let rank = if left_out.is_some() { Rank::Present } else { Rank::Foreseen };
        self.add(name, &seen, rank);
        if let Some(candidate) = self.candidates.last_mut() {
            candidate.provider = node.provider.clone();
            candidate.is_guess |= node.is_video;
        }
    }

    /// Adds OP-TEE's heap if it is not present, or the reason why it cannot appear.
    fn add_optee(&mut self, machine: &Machine) {
        if !machine.is_blob && machine.facts.heaps.iter().any(HeapName::is_of_tee) {
            return;
        }
        let is_optee = |provider: &&Provider| {
            // A device on FF-A has no node.
            provider.compatible.is_empty()
                || provider.compatible.iter().any(|one| one == devices::OPTEE)
        };
        let mut optees = machine.facts.providers.values().filter(is_optee);
        let Some(optee) = optees.clone().find(|one| !one.has_finished()).or(optees.next()) else {
            return;
        };
        if machine.is_blob || !optee.has_finished() {
            let seen = "OP-TEE has a node; its heap appears if its firmware has protected memory";
            if let Ok(name) = HeapName::new(OPTEE_HEAP) {
                self.add(name, seen, Rank::Foreseen);
            }
            return;
        }
        let why = match &optee.failure {
            Some(failure) => format!("OP-TEE's driver failed to probe: {}", failure.message),
            None if optee.driver.is_some() => "OP-TEE's driver has probed and registered no \
                heap: its firmware or this kernel has no protected memory; see docs/optee.md"
                .to_owned(),
            None => "OP-TEE has a node, but this kernel has no driver for it".to_owned(),
        };
        self.leave_out(OPTEE_HEAP, &why);
    }

    /// Adds the installed modules that may register the heaps of reserved memory.
    fn add_modules(&mut self, machine: &mut Machine) {
        let release = &machine.facts.kernel.release;
        let modules = vendor_modules::read(&machine.root, release, &mut machine.problems);
        for candidate in &mut self.candidates {
            if candidate.provider.is_none() && !candidate.name.is_of_tee() {
                candidate.modules.clone_from(&modules);
            }
        }
        let is_used = self.candidates.iter().any(|candidate| !candidate.modules.is_empty());
        if !is_used {
            let source = |module: &String| Source {
                what: format!("the installed module {module}, whose heaps are unknown"),
                provider: None,
            };
            self.sources.extend(modules.iter().map(source));
        }
    }
}

/// Returns whether the heap has the name of one for protected video.
fn is_video(name: &HeapName) -> bool {
    VIDEO.iter().any(|video| name.as_str().starts_with(video))
}

/// Describes a node and its memory.
fn described(node: &HeapNode) -> String {
    let compatible = node.provider.as_ref().or(node.compatible.first());
    let driver = match compatible.map(String::as_str) {
        Some(ARM_ALLOCATOR) if node.heap.is_none() => {
            format!(" of \"{ARM_ALLOCATOR}\", with which Arm's own GPU driver registers no heap")
        }
        Some(compatible) => format!(" for the driver of \"{compatible}\""),
        None => " without a driver".to_owned(),
    };
    let memory = node.carve_out.as_ref();
    let size = |bytes: u64| match bytes >> 20 {
        0 => format!("{bytes} bytes"),
        mib => format!("{mib} MiB"),
    };
    let bytes = memory.and_then(|memory| memory.bytes).map(size);
    match memory {
        Some(memory) if memory.path == node.path => {
            let bytes = bytes.map(|bytes| format!(" of {bytes}")).unwrap_or_default();
            format!("carve-out at {}{bytes}{driver}", node.path)
        }
        Some(memory) => {
            let bytes = bytes.map(|bytes| format!("{bytes} at ")).unwrap_or_default();
            format!("node {}{driver}; its memory is {bytes}{}", node.path, memory.path)
        }
        None => format!("node {}{driver}", node.path),
    }
}

/// Allocates the minimum of buffers that a GPU needs, and frees them. Returns an error if the
/// attempt shows nothing about the heap.
fn try_heap(machine: &Machine, name: &HeapName, images: &[Firmware]) -> Result<Verdict, String> {
    let heap = match Heap::open(&machine.root, name) {
        Ok(heap) => heap,
        Err(error) if error.is_permission() => {
            return Err(format!("{UNTRIED}; run `protheapctl draft` as root"));
        }
        Err(error) => return Ok(error.verdict()),
    };
    let firmware = images.iter().map(|image| image.protected_bytes).max();
    let firmware = firmware.filter(|bytes| *bytes > 0).unwrap_or(FIRMWARE_BYTES);
    let firmware = match heap.allocate(firmware) {
        Ok(buffer) => buffer,
        Err(error) => return Ok(error.verdict()),
    };
    let (protection, exporter) = firmware.judge();
    // One suspend buffer is sufficient for a binding.
    if protection != Protection::None
        && let Err(error) = heap.allocate(SUSPEND_BYTES)
    {
        return Ok(error.verdict());
    }
    Ok(Verdict::Allocated { protection, exporter, shortage: None })
}
