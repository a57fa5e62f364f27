# SPDX-License-Identifier: MIT OR Apache-2.0
# about: groups of open files outlive the driver and the binding, and their buffers are freed when the groups are destroyed
# linux: 7.2, 7.3
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
check 'unbound: the groups keep their suspend buffers' is "$(attr state) $(attr suspend_in_use)" 'in-use 2'
need bind_gpu
check 'a new group gets no suspend buffer while old groups have them' fails_with ENOBUFS create_group
need destroy_kept
check 'a new group gets a suspend buffer when an old one is destroyed' create_group
need unbind_gpu
need rmdir "$CONFIG/$GPU"
check 'withdrawn: the last group keeps its suspend buffer' wait_until 2 is_count 65536 given_out
check 'withdrawn: the kernel makes no new binding while a buffer is in use' fails_with EBUSY protheap-guest mkdir "$CONFIG/$GPU"
need destroy_kept
check 'the suspend buffer is freed when the last group is destroyed' wait_until 2 is_zero given_out
check 'the kernel makes a new binding when no buffer is in use' protheap-guest mkdir "$CONFIG/$GPU"
