# SPDX-License-Identifier: MIT OR Apache-2.0
# about: concurrent allocations from a dynamic pool of OP-TEE are safe, because one process at a time sets up and tears down the pool
# tee: dynamic
# smp: 4
# clock: host
# why: the race is between processors
# limit: 60

load_tee
check 'four processes allocate and free buffers' protheap-guest alloc-free protected,secure-video 65536 4 3000
check 'no buffer is left' is_zero given_out
check 'the heap still serves allocations' protheap-guest alloc protected,secure-video 4096
