# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the module that owns a heap stays, so that a heap whose TEE has gone is dead and not a trap

load_tee
need rmmod simtee
check 'the TEE has gone' absent /dev/tee0
check 'its heap has not' exists "$(heap protected,secure-video)"
rmmod tee 2>/dev/null
check 'so the module with its code cannot go' exists /sys/module/tee
check 'the heap says that it is dead' fails_with EINVAL protheap-guest alloc protected,secure-video 4096
