# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor's probe is deferred until the heap has come, and costs nothing before
# source: kernel, handed
# tee: sim, static

load_model
load_protheap
start_binder
load_panthor
check 'panthor does not probe while the GPU is held' has_no_driver
check 'and says for what' like "$(cat /sys/kernel/debug/devices_deferred)" "$GPU*no decision about protected memory yet*"
check 'it has not touched the GPU' is "$(model soft-resets) $(model boots)" '0 0'
load_tee
end_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'panthor probes' wait_until 5 is_driver panthor
check 'after the binding' is "$(attr state)" in-use
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'protected jobs run' is "$(panthor protected-job)" 'protected-jobs 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine
