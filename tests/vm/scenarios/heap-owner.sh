# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the module that owns a heap cannot be unloaded, so that a heap whose TEE is gone fails allocations and does not crash

load_tee
need rmmod simtee
check 'the TEE device is gone' absent /dev/tee0
check 'the heap still exists without its TEE' exists "$(heap protected,secure-video)"
rmmod tee 2>/dev/null
check 'the kernel does not unload the module that owns the heap' exists /sys/module/tee
check 'the heap without its TEE refuses allocations with EINVAL' fails_with EINVAL protheap-guest alloc protected,secure-video 4096
