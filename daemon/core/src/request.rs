// SPDX-License-Identifier: MIT OR Apache-2.0

//! The buffers that a GPU needs, and the heap that they are requested from.

use protheap_policy::name::{HeapName, Key};
use protheap_policy::policy::GpuPolicy;
use protheap_policy::schema::Candidate;
use serde::Serialize;

use crate::facts::{FIRMWARE_BYTES, Facts, Firmware, Gpu, Section, Source};

/// Buffers for one GPU from one heap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Heap to allocate from.
    pub heap: HeapName,
    /// Allocator of the buffers.
    pub source: Source,
    /// Size of the firmware's buffer, in bytes.
    pub firmware_bytes: u64,
    /// Size of each suspend buffer, in bytes.
    pub suspend_bytes: u64,
    /// Maximum number of suspend buffers. One is sufficient, unless this is 0. Always 0 with
    /// [`Source::Ioctl`].
    pub suspend_count: u32,
    /// Whether the kernel must accept memory that the CPU can map.
    pub allow_unprotected: bool,
    /// Key of the policy file that names the heap.
    pub policy: Key,
    /// Position of the candidate in that file.
    pub origin: String,
}

impl Request {
    /// Makes the request of `gpu` for `heap`, which `candidate` of `policy` names. The GPU's driver
    /// determines the sizes if it runs and takes a buffer by ioctl.
    pub(crate) fn new(
        policy: &GpuPolicy,
        facts: &Facts,
        gpu: &Gpu,
        candidate: &Candidate,
        heap: &HeapName,
    ) -> Self {
        let (firmware_bytes, suspend_bytes, suspend_count) = match gpu.section {
            Some(Section { firmware_bytes, suspend_bytes }) => (firmware_bytes, suspend_bytes, 0),
            None => {
                let firmware_bytes = firmware_bytes(policy, &facts.firmware);
                (firmware_bytes, policy.suspend_bytes(), policy.suspend_count())
            }
        };
        Self {
            heap: heap.clone(),
            source: facts.kernel.source(gpu),
            firmware_bytes,
            suspend_bytes,
            suspend_count,
            allow_unprotected: may_be_unprotected(policy, facts, gpu),
            policy: candidate.origin.file.key.clone(),
            origin: candidate.origin.to_string(),
        }
    }
}

/// Returns whether memory that the CPU can map may be bound. A driver that takes a buffer by ioctl
/// accepts none.
pub(crate) fn may_be_unprotected(policy: &GpuPolicy, facts: &Facts, gpu: &Gpu) -> bool {
    policy.allow_unprotected() && !facts.kernel.lockdown && gpu.section.is_none()
}

/// Returns the size of the firmware's protected buffer, in bytes: that of the image that the policy
/// names, else the largest of all images present, else [`FIRMWARE_BYTES`]. Images without a
/// protected section do not count.
fn firmware_bytes(policy: &GpuPolicy, images: &[Firmware]) -> u64 {
    let mut images: Vec<_> = images.iter().filter(|image| image.protected_bytes > 0).collect();
    if images.iter().any(|image| Some(image.name.as_str()) == policy.firmware()) {
        images.retain(|image| Some(image.name.as_str()) == policy.firmware());
    }
    images.iter().map(|image| image.protected_bytes).max().unwrap_or(FIRMWARE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protheap_policy::fragment::Fragment;
    use protheap_policy::merged::Merged;
    use protheap_policy::name::DeviceName;
    use protheap_policy::policy::Policy;

    #[test]
    fn firmware_size_is_that_of_the_named_image_else_the_largest() {
        let text = "schema = 1\n[gpu.'arm,mali-valhall-csf']\nheaps = []\nfirmware = 'arch10.8'\n";
        let file = Fragment::parse(&Key::new("default").unwrap(), "default.toml", text).unwrap();
        let device = DeviceName::new("a.gpu").unwrap();
        let policy = Policy::new(Merged::new(vec![file]));
        let gpu = policy.gpu(&device, &["arm,mali-valhall-csf".to_owned()]).unwrap();
        let image = |name: &str, protected_bytes| Firmware { name: name.into(), protected_bytes };
        let bytes = |images: &[Firmware]| firmware_bytes(&gpu, images);
        assert_eq!(bytes(&[image("arch10.8", 4096), image("arch11.8", 8192)]), 4096);
        assert_eq!(bytes(&[image("arch10.10", 4096), image("arch11.8", 8192)]), 8192);
        assert_eq!(bytes(&[image("arch10.8", 0), image("arch11.8", 8192)]), 8192);
        assert_eq!(bytes(&[]), 262_144);
    }
}
