# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap appears two seconds after the binder started: the GPU is held until then, and not until the hold timeout
# linux: 7.2, 7.3
# source: kernel, handed
# tee: sim, static

load_protheap
load_tee_late 2000
start_binder
check 'the GPU is held when the binder reports that it is ready' is "$(attr state)" held
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
check 'the kernel lists the GPU as deferred' like "$(cat /sys/kernel/debug/devices_deferred)" "*$GPU*"
check 'state.json reports state waiting' is "$(state_of /gpus/0/state)" waiting
end_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'the GPU probes' wait_until 2 gpu_probed
check 'the GPU probes after the binding was committed' at_least "$(gpu probed_at_us)" "$(step_us bound)"
check 'the binding is committed after the heap appeared' at_least "$(step_us bound)" "$(step_us heap-appeared)"
check 'the GPU is held until the heap appears' at_least "$(state_of /gpus/0/held_us)" 1500000
check 'the GPU is not held until the hold timeout' at_most "$(state_of /gpus/0/held_us)" 4500000
check 'the GPU uses its protected buffers' is "$(attr state)" in-use
