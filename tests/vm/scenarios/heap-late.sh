# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the heap comes two seconds after the binder: the GPU waits for it, and not longer
# source: kernel, handed
# tee: sim, static

load_protheap
load_tee_late 2000
start_binder
check 'the window is open when the binder says it is ready' is "$(attr state)" held
load_gpu
check 'the GPU does not probe while it is held' has_no_driver
check 'the kernel lists it as deferred' like "$(cat /sys/kernel/debug/devices_deferred)" "*$GPU*"
check 'state.json says that it waits' is "$(state_of /gpus/0/state)" waiting
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'the GPU probes' wait_until 2 gpu_probed
check 'after the binding' at_least "$(gpu probed_at_us)" "$(step_us bound)"
check 'the binding after the heap' at_least "$(step_us bound)" "$(step_us heap-appeared)"
check 'the GPU was held until the heap came' at_least "$(state_of /gpus/0/held_us)" 1500000
check 'and not to the end of the window' at_most "$(state_of /gpus/0/held_us)" 4500000
check 'it has its protected buffers' is "$(attr state)" in-use
