# SPDX-License-Identifier: MIT OR Apache-2.0
# about: negative control of optee-race: with the OP-TEE driver of Linux 7.3, concurrent allocations crash the kernel
# tee: dynamic
# smp: 4
# clock: host
# why: the race is between processors
# crashes: refcount_t: 
# limit: 60

use_optee unmodified
load_tee
check 'four processes allocate and free buffers' protheap-guest alloc-free protected,secure-video 65536 4 20000
