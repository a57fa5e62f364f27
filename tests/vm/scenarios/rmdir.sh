# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a binding can be withdrawn while the GPU is held for it, and while the driver uses it
# linux: 7.2, 7.3
# source: kernel, handed

load_tee
load_protheap
need mkdir "$CONFIG/$GPU"
need store hold_ms 10000
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
need rmdir "$CONFIG/$GPU"
check 'the GPU probes when the held binding is withdrawn' wait_until 2 gpu_probed
check 'the GPU driver has no protected buffer' is "$(gpu bound)" 0
check 'the GPU probes long before the hold timeout' at_most "$(now_ms)" 9000
need unbind_gpu

make_binding protected,secure-video 65536 3
need bind_gpu
need create_group
all=$(given_out)
need rmdir "$CONFIG/$GPU"
check 'the kernel frees unused buffers when a binding in use is withdrawn' wait_until 2 is_count $((all - 2 * 65536)) given_out
check 'the firmware keeps its buffer after the withdrawal' is "$(gpu bound) $(gpu firmware_bytes)" '1 262144'
check 'a new group gets no suspend buffer after the withdrawal' fails_with ENOENT create_group
check 'the kernel makes no new binding while buffers are in use' fails_with EBUSY protheap-guest mkdir "$CONFIG/$GPU"
check 'the group releases its suspend buffer' destroy_group
check 'the kernel frees the released suspend buffer at once' wait_until 2 is_count 262144 given_out
need unbind_gpu
check 'the kernel frees all buffers when the driver is unbound' wait_until 2 is_zero given_out
make_binding protected,secure-video 65536 3
need bind_gpu
check 'the driver uses a new binding after the withdrawal' is "$(attr state) $(gpu bound)" 'in-use 1'
