# SPDX-License-Identifier: MIT OR Apache-2.0
# about: a binding is withdrawn while the GPU waits for it, and while the GPU uses it
# source: kernel, handed

load_tee
load_protheap
need mkdir "$CONFIG/$GPU"
need store hold_ms 10000
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
need rmdir "$CONFIG/$GPU"
check 'withdrawn: it probes' wait_until 2 gpu_probed
check 'without protected memory' is "$(gpu bound)" 0
check 'long before the window would have ended' at_most "$(now_ms)" 9000
need unbind_gpu

make_binding protected,secure-video 65536 3
need bind_gpu
need create_group
all=$(given_out)
need rmdir "$CONFIG/$GPU"
check 'withdrawn in use: what is free is given back' wait_until 2 is_count $((all - 2 * 65536)) given_out
check 'the firmware keeps its buffer' is "$(gpu bound) $(gpu firmware_bytes)" '1 262144'
check 'a further group gets none' fails_with ENOENT create_group
check 'no other binding takes its place' fails_with EBUSY protheap-guest mkdir "$CONFIG/$GPU"
check 'the group gives its buffer back' destroy_group
check 'which is given back at once' wait_until 2 is_count 262144 given_out
need unbind_gpu
check 'and so is the rest, when the driver has gone' wait_until 2 is_zero given_out
make_binding protected,secure-video 65536 3
need bind_gpu
check 'a new binding is like any other' is "$(attr state) $(gpu bound)" 'in-use 1'
