# SPDX-License-Identifier: MIT OR Apache-2.0
# about: processes allocate from a dynamic pool and free at the same time: the pool is set up and torn down by one at a time
# tee: dynamic
# smp: 4
# clock: host
# why: the race is between processors
# limit: 60

load_tee
check 'four processes allocate and free' protheap-guest alloc-free protected,secure-video 65536 4 3000
check 'no buffer is left' is_zero given_out
check 'the heap still gives memory' protheap-guest alloc protected,secure-video 4096
