// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of heaps that kernels register.

/// Heaps that the kernel registers for TEEs (`drivers/tee/tee_heap.c`).
const TEE_HEAPS: [&str; 3] =
    ["protected,secure-video", "protected,trusted-ui", "protected,secure-video-record"];

/// Names of the same heaps in the patch series that became `drivers/tee/tee_heap.c`, up to its sixth
/// version. OP-TEE's tests still use the first one (`optee_test`, pull request 811).
const FORMER_TEE_HEAPS: [&str; 3] =
    ["restricted,secure-video", "restricted,trusted-ui", "restricted,secure-video-record"];

/// Heaps of the kernel whose memory any process can map (`drivers/dma-buf/heaps`).
pub(super) const MAPPABLE_HEAPS: [&str; 5] =
    ["default_cma_region", "system", "system_cc_shared", "linux,cma", "reserved"];

/// Returns all names.
pub(super) fn kernel_heaps<'k>() -> impl Iterator<Item = &'k str> {
    TEE_HEAPS.into_iter().chain(FORMER_TEE_HEAPS).chain(MAPPABLE_HEAPS)
}
