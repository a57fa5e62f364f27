# SPDX-License-Identifier: MIT OR Apache-2.0
# about: groups of open files outlive the driver, and the binding: their buffers come back when they go
# source: kernel, handed
# tee: sim, dynamic

load_tee
load_protheap
make_binding protected,secure-video 65536 2
load_gpu
need create_group
need create_group
need keep_group
need keep_group
need unbind_gpu
check 'unbound: the groups still have their buffers' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
need bind_gpu
check 'a new group waits in vain' fails_with ENOBUFS create_group
need destroy_kept
check 'until one of the old ones has gone' create_group
need unbind_gpu
need rmdir "$CONFIG/$GPU"
check 'withdrawn: what the last one has is still its' wait_until 2 is_count 65536 given_out
check 'no other binding takes its place' fails_with EBUSY protheap-guest mkdir "$CONFIG/$GPU"
need destroy_kept
check 'and comes back with it' wait_until 2 is_zero given_out
check 'then there is place' protheap-guest mkdir "$CONFIG/$GPU"
